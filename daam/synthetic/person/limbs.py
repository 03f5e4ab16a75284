"""Tapered limbs, the only shape people are made of, turned towards the camera.

View coordinates, metres, origin between the feet: x right, y up, z away from the camera.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from daam.synthetic.person.pose import Point

Part = IntEnum(
    "Part",
    "SKIN HEAD HAIR TORSO TAIL SLEEVE LEG SKIRT SHOE BAG STRAP HAT SCARF TROLLEY HOOD",
)
"""What a limb's surface is; decides its colours and texture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimbTable:
    """All limbs of one person in view coordinates, L of them."""

    starts: np.ndarray
    ends: np.ndarray
    """(L, 3) float64, metres."""
    radii: np.ndarray
    """(L, 2) float64, half width as seen from the camera at start and end, metres."""
    squash: np.ndarray
    """(L,) half depth over half width."""
    parts: np.ndarray
    """(L,) uint8, a `Part`."""
    flat: np.ndarray
    """(L,) bool, cut off at the ends instead of rounded."""
    along: np.ndarray
    """(L, 2) float32, texture coordinate at start and end."""


@dataclass(slots=True, kw_only=True)
class Limbs:
    """Tapered limbs of one person, a row each (L rows)."""

    turn: float
    """Angle from facing the camera to where the person faces, radians."""
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def add(
        self,
        start: Point,
        end: Point,
        *,
        part: Part,
        wide: tuple[float, float],
        deep: tuple[float, float] | None = None,
        flat: bool = False,
        along: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Add a limb between two points of body coordinates.

        Args:
            wide: half widths across the body at start and end.
            deep: half widths from front to back; the same as `wide` if left out.
            flat: cut off at the ends (a skirt) instead of rounded (an arm).
            along: texture coordinate at start and end.
        """
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        radius_a, radius_b = wide
        squash = 1.0
        if deep is not None:
            radius_a = math.hypot(wide[0] * cosine, deep[0] * sine)
            radius_b = math.hypot(wide[1] * cosine, deep[1] * sine)
            squash = math.hypot(wide[0] * sine, deep[0] * cosine) / radius_a
        self.rows.append(
            (
                start[0] * cosine + start[2] * sine,
                start[1],
                start[0] * sine - start[2] * cosine,
                end[0] * cosine + end[2] * sine,
                end[1],
                end[0] * sine - end[2] * cosine,
                radius_a,
                radius_b,
                squash,
                float(part),
                float(flat),
                along[0],
                along[1],
            )
        )

    def table(self) -> LimbTable:
        """The limbs as arrays."""
        rows = np.array(self.rows)
        return LimbTable(
            starts=rows[:, 0:3],
            ends=rows[:, 3:6],
            radii=rows[:, 6:8],
            squash=rows[:, 8],
            parts=rows[:, 9].astype(np.uint8),
            flat=rows[:, 10] > 0,
            along=rows[:, 11:13].astype(np.float32),
        )


def between(start: Point, end: Point, share: float) -> Point:
    """The point at this share of the way."""
    return (
        start[0] + (end[0] - start[0]) * share,
        start[1] + (end[1] - start[1]) * share,
        start[2] + (end[2] - start[2]) * share,
    )


def moved(point: Point, *, left: float = 0.0, up: float = 0.0, forward: float = 0.0) -> Point:
    """The point this far away, metres."""
    return (point[0] + left, point[1] + up, point[2] + forward)
