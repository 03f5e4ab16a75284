"""What a stored domain consists of: a manifest, shards of images, their index and labels."""
