"""From a data set's folder to a domain in a store.

layouts/        a folder or table, as its owner laid it out -> `DatasetIndex`, its images sorted
hold_out        people moved out of train: for validation, or as query and gallery
findings        what is odd about a data set, known before anything is written
dry_run         what was understood, and what cannot be read
import_domain   images -> shards -> store -> manifest
encoding        one image file -> the JPEG that is stored
duplicates      gallery images that repeat a query
image_files     images of any folder, decoded, without an import
"""
