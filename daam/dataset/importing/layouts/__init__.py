"""From a data set's folder, in the naming its authors gave it, to an index of its images.

Identities are positive numbers; 0 is a distractor (a person or background that no query shows)
and -1 junk (a box too poor to count as right or wrong).
"""

from daam.dataset.importing.layouts.index import (
    DatasetIndex,
    ImageRecord,
    Sighting,
    SkippedFile,
)
from daam.dataset.importing.layouts.reading import LAYOUTS, read_layout

__all__ = [
    "LAYOUTS",
    "DatasetIndex",
    "ImageRecord",
    "Sighting",
    "SkippedFile",
    "read_layout",
]
