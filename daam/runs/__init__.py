"""One run's folder: settings, checkpoints, reports; and training in this process."""
