"""From a data set's folder, named as its authors did, to a `DatasetIndex`.

    reading     the layouts by name, and `read_layout`
    folder, table       a user's own images; own_images turns the text of both into numbers
    rules       public data sets that are a folder per split and a rule for file names
    cuhk03, msmt17, randperson      those that need code of their own
    files       walks over folders

To add a layout: an entry in `rules.FOLDER_LAYOUTS`, or a `read_NAME(root) -> DatasetIndex` in a
file of its own and an entry in `reading.READERS`; then its name in `LAYOUT_HELP` of
commands/data.py, a test with a tree of made-up names, and a row in docs/guides/import.md.
"""

from daam.dataset.importing.layouts.reading import LAYOUTS, read_layout

__all__ = ["LAYOUTS", "read_layout"]
