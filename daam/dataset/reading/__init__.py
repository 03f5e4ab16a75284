"""Images and labels of a stored domain by row."""
