"""The identity and the camera of each image of a split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daam.errors import EvaluationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels of N images.

    Raises:
        EvaluationError: the two arrays do not match.
    """

    identities: NDArray[np.integer]
    """(N,), people are 1 and up, 0 a distractor, -1 junk."""
    cameras: NDArray[np.integer]
    """(N,)."""

    def __post_init__(self) -> None:
        if self.identities.ndim != 1 or self.identities.shape != self.cameras.shape:
            raise EvaluationError(
                f"identities have shape {self.identities.shape}, cameras {self.cameras.shape}; "
                "pass one identity and one camera per image"
            )

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> "Labels":
        return Labels(identities=self.identities[rows], cameras=self.cameras[rows])
