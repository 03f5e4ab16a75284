"""Which rows make up a batch: pure functions of labels, seed, epoch and step.

Which file answers which question:
    samplers    how is a batch drawn from all rows, and divided among ranks?
    windows     how is it drawn from a few shards, when images are more than the cache holds?
"""
