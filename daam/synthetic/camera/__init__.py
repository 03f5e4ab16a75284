"""From a posed person in a place to the pixels of a camera."""
