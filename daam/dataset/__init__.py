"""Where images come from and how they become batches.

The way of an image, in five steps:
    1. importing    a folder of images becomes shards, an index and labels     -> format
    2. cache        its shard's bytes are mapped, or fetched from a store      -> reading.ImageTable
    3. sampling     a step's batch has its row, by seed, epoch and step alone
    4. pixels       a thread decodes and augments it
    5. loader       its batch reaches the training step, in order

maintenance copies, describes and verifies what importing has made. `parallel` and `draws` are
tools for all of them: work in threads, and random numbers without state.
"""
