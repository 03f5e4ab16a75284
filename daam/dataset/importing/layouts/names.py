"""File names that tell who is in an image, and who saw it."""

import re
from dataclasses import dataclass
from pathlib import Path

from daam.errors import LayoutError

# Copies in circulation have some names with the suffix doubled.
SUFFIX = r"(\.(jpg|jpeg|png|bmp)){1,2}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRule:
    """How a data set names its images.

    Attributes:
        pattern: a regular expression of the name without its suffix, with named groups.
        example: a name that fits.
        meaning: what its parts tell, in their order.
    """

    pattern: str
    example: str
    meaning: str

    def parts(self, path: Path, *, root: Path) -> dict[str, int]:
        """The numbers that a file's name tells, by the names of the pattern's groups.

        Args:
            path: relative to `root`.
            root: the data set's folder, for the message.

        Raises:
            LayoutError: the name does not fit.
        """
        match = re.fullmatch(self.pattern + SUFFIX, path.name, re.IGNORECASE)
        if match is None:
            raise LayoutError(
                f"{root / path} is not named like {self.example} ({self.meaning}); rename it or "
                "move it away"
            )
        return {name: int(text) for name, text in match.groupdict().items()}
