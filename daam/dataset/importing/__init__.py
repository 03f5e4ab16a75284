"""From a data set's folder to a domain in a store.

layouts/        a folder, as its authors named it -> `DatasetIndex`, its images sorted
hold_out        the validation splits
import_domain   images -> shards -> store -> manifest
encoding        one image file -> the JPEG that is stored
duplicates      gallery images that repeat a query
image_files     images of any folder, decoded, without an import
"""
