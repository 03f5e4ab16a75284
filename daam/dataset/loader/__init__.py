"""Batches, decoded and augmented in threads ahead of their use.

Which file answers which question:
    batches     how is a training batch made?
    ordered     how are all rows of a domain read once, in order?
    residency   which shards are cached while that happens?
"""
