"""Every command of daam."""
