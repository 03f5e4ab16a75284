"""Head, hair and what is worn on it."""

from daam.synthetic.kinds import Hair, Hat
from daam.synthetic.person.limbs import Limbs, Part
from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Point, Pose


def add_head(limbs: Limbs, *, person: Person, pose: Pose) -> None:
    """Add the head, the hair that stands off it, and the hat."""
    scale = pose.scale
    x, y, z = pose.head

    def at(side: float, up: float, front: float) -> Point:
        return (x + side * scale, y + up * scale, z + front * scale)

    limbs.add(
        at(0, -0.055, 0.01),
        at(0, 0.045, 0),
        part=Part.HEAD,
        wide=(0.062 * scale, 0.078 * scale),
        deep=(0.075 * scale, 0.092 * scale),
    )
    hair = Part.HAIR
    if person.hair is not Hair.BALD and person.hat is not Hat.HOOD:
        limbs.add(
            at(0, 0.05, -0.012),
            at(0, 0.02, -0.03),
            part=hair,
            wide=(0.081 * scale, 0.082 * scale),
            deep=(0.089 * scale, 0.078 * scale),
        )
    match person.hair:
        case Hair.LONG:
            limbs.add(
                at(0, 0.04, -0.03),
                at(0, -0.27, -0.075),
                part=hair,
                wide=(0.088 * scale, 0.1 * scale),
                deep=(0.075 * scale, 0.04 * scale),
            )
        case Hair.BOB:
            limbs.add(
                at(0, 0.03, -0.025),
                at(0, -0.1, -0.03),
                part=hair,
                wide=(0.096 * scale, 0.102 * scale),
                deep=(0.078 * scale, 0.07 * scale),
            )
        case Hair.PONYTAIL:
            limbs.add(
                at(0, 0.03, -0.1),
                at(0, -0.2, -0.12),
                part=hair,
                wide=(0.034 * scale, 0.026 * scale),
            )
        case Hair.BUN:
            limbs.add(
                at(0, 0.1, -0.07), at(0, 0.1, -0.08), part=hair, wide=(0.05 * scale, 0.05 * scale)
            )
        case Hair.CURLY:
            limbs.add(
                at(0, 0.06, -0.035),
                at(0, -0.01, -0.05),
                part=hair,
                wide=(0.115 * scale, 0.105 * scale),
                deep=(0.095 * scale, 0.085 * scale),
            )
        case _:
            pass
    match person.hat:
        case Hat.CAP:
            limbs.add(
                at(0, 0.07, 0.0),
                at(0, 0.08, -0.01),
                part=Part.HAT,
                wide=(0.088 * scale, 0.075 * scale),
            )
            limbs.add(
                at(0, 0.055, 0.06),
                at(0, 0.045, 0.145),
                part=Part.HAT,
                wide=(0.05 * scale, 0.032 * scale),
            )
        case Hat.BEANIE:
            limbs.add(
                at(0, 0.05, -0.01),
                at(0, 0.1, -0.02),
                part=Part.HAT,
                wide=(0.095 * scale, 0.07 * scale),
            )
        case Hat.BRIM:
            limbs.add(
                at(0, 0.06, 0), at(0, 0.11, 0), part=Part.HAT, wide=(0.085 * scale, 0.07 * scale)
            )
            for side in (-1, 1):
                limbs.add(
                    at(0, 0.06, 0),
                    at(side * 0.13, 0.05, 0),
                    part=Part.HAT,
                    wide=(0.028 * scale, 0.018 * scale),
                )
                limbs.add(
                    at(0, 0.06, 0),
                    at(0, 0.05, side * 0.13),
                    part=Part.HAT,
                    wide=(0.028 * scale, 0.018 * scale),
                )
        case Hat.HOOD:
            limbs.add(
                at(0, 0.05, -0.025),
                at(0, -0.1, -0.03),
                part=Part.HOOD,
                wide=(0.108 * scale, 0.112 * scale),
                deep=(0.098 * scale, 0.09 * scale),
            )
        case _:
            pass
