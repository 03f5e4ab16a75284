"""Every picture, as PNG or SVG; nothing else knows matplotlib.

palette: all colours. sheet: where images and charts are laid out.
ranked_lists, attention_maps: what a network finds, and where it looks.
projection, calibration: where embeddings lie, and what a distance threshold gives.
contact_sheet, domain_histograms: what is in a domain.
"""
