"""A person's joints at one moment of a step, in body coordinates.

Body coordinates, metres: x towards the left hand, y up from the ground, z forward.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from daam.synthetic.kinds import Bag
from daam.synthetic.person.people import Person

Point = tuple[float, float, float]
Arm = StrEnum("Arm", "SWING HANG PHONE POCKET STRAP")
"""What an arm does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Joints of one person at one moment; pairs are (right, left)."""

    scale: float
    """Body height over 1.75 m."""
    hip: Point
    waist: Point
    chest: Point
    neck: Point
    head: Point
    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    ankles: tuple[Point, Point]
    toes: tuple[Point, Point]
    shoulders: tuple[Point, Point]
    elbows: tuple[Point, Point]
    wrists: tuple[Point, Point]
    hands: tuple[Point, Point]


def strike_pose(
    person: Person, *, phase: float, walking: float, arms: tuple[Arm, Arm], head_turn: float
) -> Pose:
    """Joints at gait phase `phase` (radians, one full cycle of two steps is 2 pi).

    Args:
        walking: 0 stands still, 1 takes the person's full stride.
        arms: what the right and the left arm do.
        head_turn: sideways shift of the head in metres, as when looking around.
    """
    tall = person.height_m
    scale = tall / 1.75
    stride = person.stride * walking
    leg = 0.515 * tall * person.leg_share
    thigh, shin = 0.475 * leg, 0.44 * leg
    hip_half = 0.052 * tall * person.hips

    legs = []
    for side, offset in ((-1, 0.0), (1, math.pi)):
        swing = stride * math.sin(phase + offset) + 0.03
        bend = 0.06 + 1.75 * stride * max(0.0, math.cos(phase + offset + 0.4)) ** 2
        hip = (side * hip_half, 0.0, 0.0)
        knee = _hang(hip, thigh, swing)
        ankle = _hang(knee, shin, swing - bend)
        tilt = 0.55 * (swing - bend) + 0.12
        toe = (
            ankle[0] + side * 0.025,
            ankle[1] - 0.045 * scale + 0.14 * scale * math.sin(tilt),
            ankle[2] + 0.155 * scale * math.cos(tilt),
        )
        legs.append((hip, knee, ankle, toe))

    lean = person.stoop + 0.05 * walking
    trunk = 0.300 * tall + (0.515 * tall - leg)
    sway = 0.012 * walking * math.sin(phase)

    def spine(share: float, *, bow: float = 0.0) -> Point:
        forward = math.sin(lean) * trunk * share + bow
        return (sway * share, trunk * share * math.cos(lean), forward)

    neck = spine(1.0, bow=0.25 * person.stoop * scale)
    head = (
        neck[0] + head_turn,
        neck[1] + 0.110 * tall,
        neck[2] + 0.03 * scale + 0.5 * person.stoop * 0.2,
    )
    half = 0.097 * tall * person.shoulders
    both_arms = []
    for doing, side, offset in zip(arms, (-1, 1), (math.pi, 0.0), strict=True):
        twist = -0.05 * stride * side * math.sin(phase) * scale
        shoulder = (neck[0] + side * half, neck[1] - 0.042 * tall, neck[2] + twist)
        arm = _arm(
            shoulder,
            side=side,
            tall=tall,
            doing=doing,
            swing=person.arm_swing * stride * math.sin(phase + offset),
            spread=0.10 + 0.12 * (person.girth - 1.0),
        )
        both_arms.append((shoulder, *arm))

    lift = 0.075 * scale - min(ankle[1] for _, _, ankle, _ in legs)

    def up(point: Point) -> Point:
        return (point[0], point[1] + lift, point[2])

    hips, knees, ankles, toes = ((up(a), up(b)) for a, b in zip(*legs, strict=True))
    shoulders, elbows, wrists, hands = ((up(a), up(b)) for a, b in zip(*both_arms, strict=True))
    return Pose(
        scale=scale,
        hip=up((0.0, 0.0, 0.0)),
        waist=up(spine(0.3)),
        chest=up(spine(0.62)),
        neck=up(neck),
        head=up(head),
        hips=hips,
        knees=knees,
        ankles=ankles,
        toes=toes,
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        hands=hands,
    )


def draw_arms(person: Person, *, rng: np.random.Generator) -> tuple[Arm, Arm]:
    """What the two arms do in one image; a bag keeps its own arm busy."""
    arms = [Arm.SWING, Arm.SWING]
    busy = 0 if person.bag_side < 0 else 1
    mood = rng.random()
    if mood < 0.12:
        arms[int(rng.integers(2))] = Arm.PHONE
    elif mood < 0.24:
        arms = [Arm.POCKET, Arm.POCKET]
    if person.bag in (Bag.HANDBAG, Bag.TROLLEY):
        arms[busy] = Arm.HANG
    elif person.bag is Bag.SHOULDER and rng.random() < 0.4:
        arms[busy] = Arm.STRAP
    return arms[0], arms[1]


def _arm(
    shoulder: Point, *, side: int, tall: float, doing: Arm, swing: float, spread: float
) -> tuple[Point, Point, Point]:
    upper, lower, hand = 0.168 * tall, 0.142 * tall, 0.075 * tall
    bend = 0.25 + 0.6 * max(0.0, swing)
    inward = 0.0
    if doing is Arm.HANG:
        swing, bend = 0.15 * swing, 0.08
    elif doing is Arm.PHONE:
        swing, bend, inward = 0.45, 1.75, 0.35
    elif doing is Arm.POCKET:
        swing, bend, spread, inward = -0.35, 0.75, spread + 0.15, 0.28
    elif doing is Arm.STRAP:
        swing, bend, inward = 0.25, 2.2, 0.15
    elbow = _hang(shoulder, upper, swing, outward=side * spread)
    aim = side * (0.4 * spread - inward)
    wrist = _hang(elbow, lower, swing + bend, outward=aim)
    return elbow, wrist, _hang(wrist, hand, swing + 1.15 * bend, outward=0.8 * aim)


def _hang(start: Point, length: float, forward: float, *, outward: float = 0.0) -> Point:
    """The lower end of a limb that hangs from `start`, swung forward and outward (radians)."""
    down = length * math.cos(outward)
    return (
        start[0] + length * math.sin(outward),
        start[1] - down * math.cos(forward),
        start[2] + down * math.sin(forward),
    )
