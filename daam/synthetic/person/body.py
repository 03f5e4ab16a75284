"""Flesh and clothes: a posed person as a few dozen limbs."""

from daam.synthetic.kinds import Bottom, Hat, Shoe, Top
from daam.synthetic.person.bags import add_bag
from daam.synthetic.person.head import add_head
from daam.synthetic.person.limbs import Limbs, Part, between
from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Point, Pose


def build_body(person: Person, *, pose: Pose, turn: float) -> Limbs:
    """All limbs of a dressed person who faces `turn` radians away from the camera."""
    limbs = Limbs(turn=turn)
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
    bare = outfit.bottom in (Bottom.SKIRT, Bottom.LONG_SKIRT)
    covers_knee = outfit.bottom is not Bottom.SHORTS and not bare
    for hip, knee, ankle, toe in zip(pose.hips, pose.knees, pose.ankles, pose.toes, strict=True):
        skin = Part.LEG if covers_knee else Part.SKIN
        extra = cloth if covers_knee else 0.0
        thigh_r = (0.083 * thick + extra, 0.057 * thick + extra)
        shin_r = (0.057 * thick + extra, 0.038 * thick + extra + (flare if covers_knee else 0.0))
        limbs.add(hip, knee, part=skin, wide=thigh_r, along=(0.0, 0.5))
        calf = between(knee, ankle, 0.35)
        calf = (calf[0], calf[1], calf[2] - 0.012 * scale)
        middle = 0.054 * thick + extra
        limbs.add(knee, calf, part=skin, wide=(shin_r[0], middle), along=(0.5, 0.67))
        limbs.add(calf, ankle, part=skin, wide=(middle, shin_r[1]), along=(0.67, 1.0))
        if outfit.bottom is Bottom.SHORTS:
            end = between(hip, knee, min(1.0, outfit.bottom_length * 2))
            wide = (0.088 * thick + 0.012, 0.066 * thick + cloth)
            limbs.add(hip, end, part=Part.LEG, wide=wide, flat=True, along=(0.0, 0.5))
        _foot(limbs, person=person, scale=scale, knee=knee, ankle=ankle, toe=toe)


def _foot(
    limbs: Limbs, *, person: Person, scale: float, knee: Point, ankle: Point, toe: Point
) -> None:
    heel = (ankle[0], ankle[1] - 0.03 * scale, ankle[2] - 0.03 * scale)
    wide = (0.045 * scale, 0.036 * scale)
    part = Part.SHOE
    limbs.add(heel, toe, part=part, wide=wide)
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
    low = (pose.hip[0], pose.hip[1] - 0.005, pose.hip[2])
    part = Part.TORSO
    hip = ((hip_w + cloth) * 0.92, (hip_d + cloth) * 0.95)
    waist, chest = (waist_w + cloth, waist_d + cloth), (chest_w + cloth, chest_d + cloth)
    limbs.add(low, pose.waist, part=part, wide=(hip[0], waist[0]), deep=(hip[1], waist[1]))
    limbs.add(
        pose.waist, pose.chest, part=part, wide=(waist[0], chest[0]), deep=(waist[1], chest[1])
    )
    upper = between(pose.chest, pose.neck, 0.72)
    limbs.add(
        pose.chest, upper, part=part, wide=(chest[0], 0.105 * scale), deep=(chest[1], 0.075 * scale)
    )
    ball, collar = 0.050 * scale * girth**0.5 + cloth, 0.048 * scale + 0.6 * cloth
    nape = between(pose.chest, pose.neck, 0.93)
    for shoulder in pose.shoulders:
        limbs.add(shoulder, nape, part=part, wide=(ball, collar))
    neck_top = between(pose.neck, pose.head, 0.5)
    limbs.add(upper, neck_top, part=Part.SKIN, wide=(0.062 * scale * girth**0.5, 0.052 * scale))

    spread = max(abs(pose.knees[0][2] - pose.knees[1][2]), 0.0)
    if outfit.bottom in (Bottom.SKIRT, Bottom.LONG_SKIRT):
        length = outfit.bottom_length * pose.hip[1]
        end = (low[0], low[1] - length, low[2] + 0.1 * spread)
        reach = 0.28 * spread + 0.05
        limbs.add(
            pose.waist,
            end,
            part=Part.SKIRT,
            wide=(waist_w + 0.008, hip_w + 0.05 + 0.1 * length),
            deep=(waist_d + 0.008, hip_d + reach + 0.1 * length),
            flat=True,
        )
    if outfit.hem < -0.1:
        end = (low[0], low[1] + outfit.hem * scale, low[2])
        widen = 0.03 + 0.08 * -outfit.hem
        limbs.add(
            pose.waist,
            end,
            part=Part.TAIL,
            wide=(waist[0], hip_w + cloth + widen),
            deep=(waist[1], hip_d + cloth + widen + 0.28 * spread),
            flat=True,
        )
    if outfit.top is Top.HOODIE and person.hat is not Hat.HOOD:
        back = (upper[0], upper[1] + 0.02, upper[2] - 0.075 * scale)
        limbs.add(
            (back[0] - 0.05, back[1], back[2]),
            (back[0] + 0.05, back[1], back[2]),
            part=Part.HOOD,
            wide=(0.065 * scale, 0.065 * scale),
        )
    if person.scarf:
        front = (upper[0] + 0.03, upper[1] + 0.035 * scale, upper[2] + 0.04)
        behind = (upper[0] - 0.03, upper[1] + 0.05 * scale, upper[2] - 0.03)
        limbs.add(behind, front, part=Part.SCARF, wide=(0.088 * scale, 0.088 * scale))
        tip = (front[0] + 0.03, front[1] - 0.3 * scale, pose.chest[2] + chest_d + cloth)
        limbs.add(front, tip, part=Part.SCARF, wide=(0.04, 0.045))


def _arms(limbs: Limbs, *, person: Person, pose: Pose) -> None:
    scale, outfit = pose.scale, person.outfit
    thick = scale * person.girth**0.7
    cloth = _CLOTH[outfit.top]
    bands = zip(pose.shoulders, pose.elbows, pose.wrists, pose.hands, strict=True)
    for shoulder, elbow, wrist, hand in bands:
        covered = outfit.sleeve
        upper_r, lower_r = (0.052 * thick, 0.041 * thick), (0.041 * thick, 0.03 * thick)
        full = covered > 0.9
        part, extra = (Part.SLEEVE, cloth) if full else (Part.SKIN, 0.0)
        grown = (upper_r[0] + extra, upper_r[1] + extra)
        limbs.add(shoulder, elbow, part=part, wide=grown, along=(0.0, 0.5))
        grown = (lower_r[0] + extra, lower_r[1] + extra)
        limbs.add(elbow, wrist, part=part, wide=grown, along=(0.5, 1.0))
        if not full and covered > 0.0:
            end = between(shoulder, elbow, min(1.0, covered * 1.8))
            wide = (upper_r[0] + cloth, upper_r[1] + cloth + 0.008)
            limbs.add(shoulder, end, part=Part.SLEEVE, wide=wide, along=(0.0, 0.5))
            if covered > 0.5:
                end = between(elbow, wrist, covered * 2 - 1)
                wide = (upper_r[1] + cloth, lower_r[0] + cloth)
                limbs.add(elbow, end, part=Part.SLEEVE, wide=wide, along=(0.5, covered))
        limbs.add(wrist, hand, part=Part.SKIN, wide=(0.03 * scale, 0.036 * scale))
