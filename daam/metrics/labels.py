"""The identity and, where it is known, the camera of each image of a split."""

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
    cameras: NDArray[np.integer] | None
    """(N,); None: unknown, so that no image is junk for being of the query's camera."""

    def __post_init__(self) -> None:
        expected = self.identities.shape if self.cameras is None else self.cameras.shape
        if self.identities.ndim != 1 or self.identities.shape != expected:
            raise EvaluationError(
                f"identities have shape {self.identities.shape}, cameras {expected}; pass one "
                "identity and one camera per image"
            )

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> "Labels":
        return Labels(
            identities=self.identities[rows],
            cameras=None if self.cameras is None else self.cameras[rows],
        )


def same_camera(query: Labels, gallery: Labels) -> NDArray[np.bool_]:
    """(Q, G): whether two images are of one camera; False where cameras are unknown."""
    if query.cameras is None or gallery.cameras is None:
        return np.zeros((len(query), len(gallery)), np.bool_)
    return query.cameras[:, None] == gallery.cameras
