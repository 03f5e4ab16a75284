"""Images and labels of a stored domain by row.

Which file answers which question:
    image_table     how do I get the JPEGs of some rows, of one domain or several?
    labels          what are their identities and file names?
"""
