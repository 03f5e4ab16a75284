"""From settings to a run.

assemble       data, network, optimiser and objective of a run: `Run`
network        the network that the settings describe
compute        device, precision and memory format
"""
