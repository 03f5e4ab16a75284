"""daam: unsupervised cross-domain person re-identification, trained and tuned on a Ray cluster."""

__version__ = "0.1.0"
