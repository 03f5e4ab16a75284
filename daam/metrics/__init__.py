"""How good an embedding is, from arrays alone.

retrieval: mAP, CMC, mINP, ranked lists. ranks: how they are found without sorting.
reranking: the same scores after k-reciprocal re-ranking.
calibration: a distance threshold for a false-match rate.
colour_histogram: the baseline without learning.
label_free: how consistent an embedding is with itself, cameras and tracks.
diagnostics, projection: attention, domain probe, silhouette; t-SNE for a plot.
"""
