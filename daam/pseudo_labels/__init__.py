"""Groups of target images that are probably one identity.

`automatic`: settings that are left to the data. `jaccard`: distances between images. `grouping`:
DBSCAN on them. `memory`: the centres of groups during an epoch. `exemplars`: the memory of single
images.
"""
