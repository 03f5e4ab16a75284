"""Images and labels of a stored domain by row.

Which file answers which question:
    image_table     how do I get the JPEGs of some rows?
    joined_images   how do several domains become one table?
    labels          what are their identities and file names?
"""
