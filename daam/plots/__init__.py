"""Every picture, as PNG or SVG, and the frame of HTML reports; nothing else knows matplotlib.

palette: all colours. sheet: where images and charts are laid out.
page: the frame, style and tables of HTML reports. curves: line charts in them.
ranked_lists, attention_maps: what a network finds, and where it looks. group_sheet: its groups.
projection, calibration: where embeddings lie, and what a distance threshold gives.
contact_sheet, domain_histograms: what is in a domain.
"""
