"""Every picture: one palette, one sheet."""
