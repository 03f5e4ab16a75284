"""Which rows make up a batch: pure functions of labels, seed, epoch and step."""
