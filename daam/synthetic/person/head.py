"""Head, hair and what is worn on it."""

from dataclasses import dataclass

from daam.synthetic.kinds import Hair, Hat
from daam.synthetic.person.limbs import Limbs, Part, moved
from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Point, Pose

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Lump:
    """A limb of the head: its ends from the head's middle (left, up, forward) and half widths."""

    start: Point
    end: Point
    wide: Pair
    deep: Pair | None = None
    """As wide if left out."""
    part: Part = Part.HAIR


_HEAD = _Lump((0, -0.055, 0.01), (0, 0.045, 0), (0.062, 0.078), (0.075, 0.092), Part.HEAD)
_SCALP = _Lump((0, 0.05, -0.012), (0, 0.02, -0.03), (0.081, 0.082), (0.089, 0.078))
_HAIR = {
    Hair.LONG: _Lump((0, 0.04, -0.03), (0, -0.27, -0.075), (0.088, 0.1), (0.075, 0.04)),
    Hair.BOB: _Lump((0, 0.03, -0.025), (0, -0.1, -0.03), (0.096, 0.102), (0.078, 0.07)),
    Hair.PONYTAIL: _Lump((0, 0.03, -0.1), (0, -0.2, -0.12), (0.034, 0.026)),
    Hair.BUN: _Lump((0, 0.1, -0.07), (0, 0.1, -0.08), (0.05, 0.05)),
    Hair.CURLY: _Lump((0, 0.06, -0.035), (0, -0.01, -0.05), (0.115, 0.105), (0.095, 0.085)),
}
_HATS = {
    Hat.CAP: (
        _Lump((0, 0.07, 0), (0, 0.08, -0.01), (0.088, 0.075), part=Part.HAT),
        _Lump((0, 0.055, 0.06), (0, 0.045, 0.145), (0.05, 0.032), part=Part.HAT),
    ),
    Hat.BEANIE: (_Lump((0, 0.05, -0.01), (0, 0.1, -0.02), (0.095, 0.07), part=Part.HAT),),
    Hat.BRIM: (
        _Lump((0, 0.06, 0), (0, 0.11, 0), (0.085, 0.07), part=Part.HAT),
        *(
            _Lump((0, 0.06, 0), (0.13 * x, 0.05, 0.13 * z), (0.028, 0.018), part=Part.HAT)
            for x, z in ((-1, 0), (0, -1), (1, 0), (0, 1))
        ),
    ),
    Hat.HOOD: (
        _Lump((0, 0.05, -0.025), (0, -0.1, -0.03), (0.108, 0.112), (0.098, 0.09), Part.HOOD),
    ),
}


def add_head(limbs: Limbs, *, person: Person, pose: Pose) -> None:
    """Add the head, the hair that stands off it, and the hat."""
    lumps = [_HEAD]
    if person.hair is not Hair.BALD and person.hat is not Hat.HOOD:
        lumps.append(_SCALP)
    if person.hair in _HAIR:
        lumps.append(_HAIR[person.hair])
    lumps.extend(_HATS.get(person.hat, ()))
    scale = pose.scale

    def at(offset: Point) -> Point:
        left, up, forward = offset
        return moved(pose.head, left=left * scale, up=up * scale, forward=forward * scale)

    def scaled(radii: Pair) -> Pair:
        return (radii[0] * scale, radii[1] * scale)

    for lump in lumps:
        limbs.add(
            at(lump.start),
            at(lump.end),
            part=lump.part,
            wide=scaled(lump.wide),
            deep=None if lump.deep is None else scaled(lump.deep),
        )
