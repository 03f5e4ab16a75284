"""One place: grounds, walls, what stands around, where somebody stands."""
