"""One pure function a loss."""
