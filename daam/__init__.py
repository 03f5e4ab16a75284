"""daam: unsupervised cross-domain person re-identification, trained and tuned on a Ray cluster."""
