"""What a stored domain consists of: a manifest, shards of images, their index and labels.

Which file answers which question:
    manifest        which files is a domain made of?
    shards          what is in them, and how are they written?
    arrow_file      how is an Arrow file opened and validated?
    shard_index     where in its shard is an image?
    mapped_shard    how is a local shard read?
    download        how is a file of a store read and verified?
    publishing      how does a domain replace the one before?
"""
