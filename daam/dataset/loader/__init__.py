"""Batches, decoded and augmented in threads ahead of their use."""
