"""Flesh and clothes: a posed person as a few dozen limbs."""

from itertools import pairwise

from daam.synthetic.kinds import Bottom, Hat, Shoe, Top
from daam.synthetic.person.bags import add_bag
from daam.synthetic.person.head import add_head
from daam.synthetic.person.limbs import Limbs, Part, between, moved
from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Point, Pose
from daam.synthetic.person.stance import Stance


def build_body(stance: Stance) -> Limbs:
    """All limbs of a dressed person."""
    person, pose, limbs = stance.person, stance.pose, Limbs(turn=stance.turn)
    _legs(limbs, person=person, pose=pose)
    _trunk(limbs, person=person, pose=pose)
    _arms(limbs, person=person, pose=pose)
    add_head(limbs, person=person, pose=pose)
    add_bag(limbs, person=person, pose=pose, cloth_m=_CLOTH[person.outfit.top])
    return limbs


_CLOTH = {
    Top.TANK: 0.004,
    Top.TSHIRT: 0.010,
    Top.SHIRT: 0.010,
    Top.SWEATER: 0.016,
    Top.HOODIE: 0.022,
    Top.JACKET: 0.026,
    Top.PUFFER: 0.050,
    Top.COAT: 0.032,
    Top.DRESS: 0.006,
}
"""Thickness of a top over the body, metres."""


def _legs(limbs: Limbs, *, person: Person, pose: Pose) -> None:
    scale, girth, outfit = pose.scale, person.girth, person.outfit
    thick = scale * girth**0.8
    cloth, flare = {
        Bottom.LEGGINGS: (0.001, 0.0),
        Bottom.WIDE: (0.022, 0.045),
        Bottom.SHORTS: (0.026, 0.02),
    }.get(outfit.bottom, (0.012, 0.016))
    part, extra, widening = Part.LEG, cloth, flare
    if outfit.bottom in (Bottom.SHORTS, Bottom.SKIRT, Bottom.LONG_SKIRT):  # bare below the knee
        part, extra, widening = Part.SKIN, 0.0, 0.0
    knee_r, calf_r = 0.057 * thick + extra, 0.054 * thick + extra
    for hip, knee, ankle, toe in zip(pose.hips, pose.knees, pose.ankles, pose.toes, strict=True):
        limbs.add(hip, knee, part=part, wide=(0.083 * thick + extra, knee_r), along=(0.0, 0.5))
        calf = moved(between(knee, ankle, 0.35), forward=-0.012 * scale)
        limbs.add(knee, calf, part=part, wide=(knee_r, calf_r), along=(0.5, 0.67))
        ankle_r = 0.038 * thick + extra + widening
        limbs.add(calf, ankle, part=part, wide=(calf_r, ankle_r), along=(0.67, 1.0))
        if outfit.bottom is Bottom.SHORTS:
            end = between(hip, knee, min(1.0, outfit.bottom_length * 2))
            wide = (0.088 * thick + 0.012, 0.066 * thick + cloth)
            limbs.add(hip, end, part=Part.LEG, wide=wide, flat=True, along=(0.0, 0.5))
        _foot(limbs, person=person, scale=scale, knee=knee, ankle=ankle, toe=toe)


def _foot(
    limbs: Limbs, *, person: Person, scale: float, knee: Point, ankle: Point, toe: Point
) -> None:
    part, heel = Part.SHOE, moved(ankle, up=-0.03 * scale, forward=-0.03 * scale)
    limbs.add(heel, toe, part=part, wide=(0.045 * scale, 0.036 * scale))
    if person.shoe is Shoe.BOOT:
        top = between(ankle, knee, 0.45)
        size = 0.058 * scale * person.girth**0.5
        limbs.add(ankle, top, part=part, wide=(0.048 * scale, size), flat=True)
    elif person.shoe is Shoe.SNEAKER:
        limbs.add(ankle, heel, part=part, wide=(0.046 * scale, 0.046 * scale))


def _trunk(limbs: Limbs, *, person: Person, pose: Pose) -> None:
    scale, girth, outfit = pose.scale, person.girth, person.outfit
    cloth = _CLOTH[outfit.top]
    hip_w = 0.168 * scale * person.hips * girth**0.7
    hip_d = 0.115 * scale * girth**0.9
    waist_w, waist_d = 0.138 * scale * girth, 0.104 * scale * girth**1.2
    chest_w = 0.160 * scale * person.shoulders * girth**0.6
    chest_d = 0.118 * scale * girth**0.8
    low, upper = moved(pose.hip, up=-0.005), between(pose.chest, pose.neck, 0.72)
    rings = (
        (low, (hip_w + cloth) * 0.92, (hip_d + cloth) * 0.95),
        (pose.waist, waist_w + cloth, waist_d + cloth),
        (pose.chest, chest_w + cloth, chest_d + cloth),
        (upper, 0.105 * scale, 0.075 * scale),
    )
    for (start, wide_a, deep_a), (end, wide_b, deep_b) in pairwise(rings):
        limbs.add(start, end, part=Part.TORSO, wide=(wide_a, wide_b), deep=(deep_a, deep_b))
    ball, collar = 0.050 * scale * girth**0.5 + cloth, 0.048 * scale + 0.6 * cloth
    nape = between(pose.chest, pose.neck, 0.93)
    for shoulder in pose.shoulders:
        limbs.add(shoulder, nape, part=Part.TORSO, wide=(ball, collar))
    neck_top = between(pose.neck, pose.head, 0.5)
    limbs.add(upper, neck_top, part=Part.SKIN, wide=(0.062 * scale * girth**0.5, 0.052 * scale))

    stride = abs(pose.knees[0][2] - pose.knees[1][2])
    if outfit.bottom in (Bottom.SKIRT, Bottom.LONG_SKIRT):
        length = outfit.bottom_length * pose.hip[1]
        reach = 0.28 * stride + 0.05
        limbs.add(
            pose.waist,
            moved(low, up=-length, forward=0.1 * stride),
            part=Part.SKIRT,
            wide=(waist_w + 0.008, hip_w + 0.05 + 0.1 * length),
            deep=(waist_d + 0.008, hip_d + reach + 0.1 * length),
            flat=True,
        )
    if outfit.hem < -0.1:
        widen = 0.03 + 0.08 * -outfit.hem
        limbs.add(
            pose.waist,
            moved(low, up=outfit.hem * scale),
            part=Part.TAIL,
            wide=(waist_w + cloth, hip_w + cloth + widen),
            deep=(waist_d + cloth, hip_d + cloth + widen + 0.28 * stride),
            flat=True,
        )
    if outfit.top is Top.HOODIE and person.hat is not Hat.HOOD:
        back = moved(upper, up=0.02, forward=-0.075 * scale)
        ends = moved(back, left=-0.05), moved(back, left=0.05)
        limbs.add(*ends, part=Part.HOOD, wide=(0.065 * scale, 0.065 * scale))
    if person.scarf:
        front = moved(upper, left=0.03, up=0.035 * scale, forward=0.04)
        behind = moved(upper, left=-0.03, up=0.05 * scale, forward=-0.03)
        limbs.add(behind, front, part=Part.SCARF, wide=(0.088 * scale, 0.088 * scale))
        tip = (front[0] + 0.03, front[1] - 0.3 * scale, pose.chest[2] + chest_d + cloth)
        limbs.add(front, tip, part=Part.SCARF, wide=(0.04, 0.045))


def _arms(limbs: Limbs, *, person: Person, pose: Pose) -> None:
    scale, outfit = pose.scale, person.outfit
    thick = scale * person.girth**0.7
    cloth = _CLOTH[outfit.top]
    covered = outfit.sleeve
    upper_r, elbow_r, wrist_r = 0.052 * thick, 0.041 * thick, 0.03 * thick
    part, extra = (Part.SLEEVE, cloth) if covered > 0.9 else (Part.SKIN, 0.0)
    joints = zip(pose.shoulders, pose.elbows, pose.wrists, pose.hands, strict=True)
    for shoulder, elbow, wrist, hand in joints:
        wide = (upper_r + extra, elbow_r + extra)
        limbs.add(shoulder, elbow, part=part, wide=wide, along=(0.0, 0.5))
        wide = (elbow_r + extra, wrist_r + extra)
        limbs.add(elbow, wrist, part=part, wide=wide, along=(0.5, 1.0))
        if 0.0 < covered <= 0.9:
            end = between(shoulder, elbow, min(1.0, covered * 1.8))
            wide = (upper_r + cloth, elbow_r + cloth + 0.008)
            limbs.add(shoulder, end, part=Part.SLEEVE, wide=wide, along=(0.0, 0.5))
        if 0.5 < covered <= 0.9:
            end = between(elbow, wrist, covered * 2 - 1)
            wide = (elbow_r + cloth, elbow_r + cloth)
            limbs.add(elbow, end, part=Part.SLEEVE, wide=wide, along=(0.5, covered))
        limbs.add(wrist, hand, part=Part.SKIN, wide=(0.03 * scale, 0.036 * scale))
