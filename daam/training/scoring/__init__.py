"""How good the embedding is during training: retrieval tests and diagnostics."""
