"""Settings become objects: network, data, compute."""
