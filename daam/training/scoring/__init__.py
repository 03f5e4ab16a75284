"""How good the embedding is during training.

extract          embeddings of whole splits
retrieval_test   mAP and CMC on a query and a gallery with labels
inspection       diagnostics that need no label
"""
