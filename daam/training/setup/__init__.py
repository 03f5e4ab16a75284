"""From settings to a run.

assemble       `Run`: data, network, optimiser and objective together
data           source and target opened; windows of shards where the cache is small
network        the network that the settings describe
compute        device, precision and memory format
"""
