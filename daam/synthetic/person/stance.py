"""Where a person stands, which way they face, and their pose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Point, Pose, draw_arms, strike_pose
from daam.synthetic.settings import CameraLook, DomainLook


@dataclass(frozen=True, slots=True, kw_only=True)
class Stance:
    """A person at a spot of the ground, at one moment of their step."""

    person: Person
    right_m: float
    away_m: float
    """From the foot of the camera: sideways, and along its direction."""
    pose: Pose
    turn: float
    """Where the body faces, radians away from the camera."""
    head_turn: float
    """What the head adds to it."""

    @classmethod
    def draw(
        cls,
        person: Person,
        *,
        right_m: float,
        away_m: float,
        view: CameraLook,
        look: DomainLook,
        rng: np.random.Generator,
    ) -> "Stance":
        """Draw a walk past this camera, mostly in one of the two directions people walk there."""
        against = rng.random() >= view.one_way
        turn = view.walking_direction + rng.normal(0, look.viewpoint_spread) + math.pi * against
        head_turn = float(rng.normal(0, 0.3))
        pose = strike_pose(
            person,
            phase=rng.uniform(0, 2 * math.pi),
            walking=0.05 if rng.random() < 0.15 else float(rng.uniform(0.7, 1.1)),
            arms=draw_arms(person, rng=rng),
            head_turn=0.02 * head_turn,
        )
        return cls(
            person=person,
            right_m=right_m,
            away_m=away_m,
            pose=pose,
            turn=turn - math.atan2(right_m, away_m),
            head_turn=head_turn,
        )

    def seen(self, points: Sequence[Point]) -> np.ndarray:
        """Points of body coordinates (see `pose`) in view coordinates (see `limbs`), (n, 3)."""
        x, y, z = np.array(points).T
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        return np.stack([x * cosine + z * sine, y, x * sine - z * cosine], axis=1)
