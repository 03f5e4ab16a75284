"""Albedo of a person's surface: skin, face, hair and cloth with its pattern, cut and folds.

Shapes: N = covered pixels, M = the pixels of one part.
"""

import math
from functools import lru_cache

import numpy as np

from daam.synthetic.camera.raster import Projection, Surface
from daam.synthetic.kinds import Bag, Bottom, Hair, Hat, Pattern, Top, linear
from daam.synthetic.person.limbs import LimbTable, Part
from daam.synthetic.person.people import Person
from daam.synthetic.person.stance import Stance
from daam.synthetic.streams import stream

_TRUNK_M = 0.52
"""Hip joint to neck of a person of 1.75 m."""
_FOLDS: dict[int, float] = {
    Part.SKIN: 0.05,
    Part.HEAD: 0.03,
    Part.HAIR: 0.22,
    Part.TORSO: 0.2,
    Part.TAIL: 0.24,
    Part.SLEEVE: 0.22,
    Part.LEG: 0.2,
    Part.SKIRT: 0.22,
}
"""How much folds change the brightness."""


def paint(
    stance: Stance, *, surface: Surface, limbs: LimbTable, projection: Projection
) -> np.ndarray:
    """Linear albedo (N, 3) of a person's surface."""
    person, pose, turn = stance.person, stance.pose, stance.turn
    part = limbs.parts.take(surface.limb)
    albedo = _plain_colours(person).take(part, axis=0)

    cloth = np.flatnonzero((part == Part.TORSO) | (part == Part.TAIL))
    if len(cloth):
        line, column = surface.line.take(cloth), surface.column.take(cloth)
        x, y, away = projection.crop(stance.seen([pose.hip, pose.neck]))
        (hip_x, neck_x), (hip_y, neck_y) = x.tolist(), y.tolist()
        half_m = 0.17 * pose.scale * person.girth**0.6
        half_m *= math.hypot(math.cos(turn), 0.75 * math.sin(turn))
        half_px = half_m * projection.camera.focal_px / float(away[0]) * projection.zoom_x
        height_px = max(hip_y - neck_y, 1.0)
        up = (np.float32(hip_y) - line.astype(np.float32)) * np.float32(1 / height_px)
        spine = np.float32(hip_x) + up * np.float32(neck_x - hip_x)
        side = (column.astype(np.float32) - spine) * np.float32(1 / half_px)
        around = _wrapped(np.arcsin(np.clip(side, -0.99, 0.99)) - turn)
        tail = part[cloth] == Part.TAIL
        above = up * np.float32(_TRUNK_M * person.height_m / 1.75)
        albedo[cloth] = _trunk_cloth(person, above=above, around=around, tail=tail)
    for kind in (Part.LEG, Part.SKIRT, Part.SLEEVE):
        chosen = np.flatnonzero(part == kind)
        if len(chosen):
            rows, share = surface.limb.take(chosen), surface.along.take(chosen)
            start, end = limbs.along[:, 0], limbs.along[:, 1]
            along = start.take(rows) + share * (end - start).take(rows)
            around = _wrapped(np.arcsin(surface.normal[0].take(chosen)) - turn)
            shade = _sleeve if kind is Part.SLEEVE else _lower
            albedo[chosen] = shade(person, along=along, around=around)
    head = np.flatnonzero(part == Part.HEAD)
    if len(head):
        facing = turn + stance.head_turn
        nx, ny, nz = (part.take(head) for part in surface.normal)
        up = 2.0 * surface.along.take(head) - 1.0 + 0.45 * ny
        front = nx * math.sin(facing) + nz * math.cos(facing)
        side = nx * math.cos(facing) - nz * math.sin(facing)
        albedo[head] = _face(person, up=up, front=front, side=side)
    shoe = np.flatnonzero(part == Part.SHOE)
    if len(shoe):
        below = surface.normal[1, shoe] < -0.55
        albedo[shoe[below]] = linear(person.sole_colour)
    bag = np.flatnonzero(part == Part.BAG)
    if len(bag):
        share = surface.along[bag]
        accent = (share > 0.12) & (share < 0.42) if person.bag is Bag.BACKPACK else share > 0.7
        albedo[bag[accent]] = 0.5 * (linear(person.bag_colour) + linear(person.bag_accent))
    return albedo


def folds(surface: Surface, *, limbs: LimbTable) -> np.ndarray:
    """(N,) brightness of folds and strands, around 1."""
    depth = np.array([_FOLDS.get(part, 0.1) for part in limbs.parts.tolist()], np.float32)
    start = (np.arange(len(depth)) * 17 % 64).astype(np.float32)
    rows = (surface.along * np.float32(24) + start.take(surface.limb)).astype(np.int32)
    columns = (surface.normal[0] * np.float32(9) + np.float32(64)).astype(np.int32)
    grain = _grain().ravel().take(rows * 128 + columns)
    grain *= depth.take(surface.limb)
    grain += 1
    return grain


@lru_cache(maxsize=256)
def _plain_colours(person: Person) -> np.ndarray:
    """(parts, 3): the colour every part starts from; not to be written to."""
    outfit = person.outfit
    colours = np.zeros((len(Part) + 1, 3), np.float32)
    for colour, parts in (
        (person.skin, (Part.SKIN, Part.HEAD)),
        (person.hair_colour, (Part.HAIR,)),
        (outfit.top_colour, (Part.TORSO, Part.TAIL, Part.SLEEVE, Part.HOOD)),
        (outfit.bottom_colour, (Part.LEG, Part.SKIRT)),
        (person.shoe_colour, (Part.SHOE,)),
        (person.bag_colour, (Part.BAG, Part.STRAP, Part.TROLLEY)),
        (person.hat_colour, (Part.HAT,)),
        (person.scarf_colour, (Part.SCARF,)),
    ):
        colours[list(parts)] = linear(colour)
    return colours


def _trunk_cloth(
    person: Person, *, above: np.ndarray, around: np.ndarray, tail: np.ndarray
) -> np.ndarray:
    """(M, 3) for the trunk: `above` the hip joint in metres, `around` from the front in radians."""
    outfit = person.outfit
    main, accent = linear(outfit.top_colour), linear(outfit.top_accent)
    mix = _pattern(outfit.pattern, size=outfit.pattern_size, above=above, around=around)
    colours = main + mix[:, None] * (accent - main)
    front = np.abs(around)
    if outfit.opening:
        # An open front widens towards the hem.
        gap = outfit.opening * (1.15 - 0.9 * np.clip(above, -0.4, 0.5))
        colours[(front < gap) & (above > -0.12)] = linear(outfit.inner_colour)
    elif outfit.top in (Top.JACKET, Top.PUFFER, Top.COAT, Top.SHIRT):
        colours[front < 0.05] *= 0.45
    if outfit.top is Top.PUFFER:
        colours *= _quilting(above * 11.0)
    if outfit.top in (Top.TSHIRT, Top.TANK, Top.DRESS):
        neckline = (front < 0.6) & (above > 0.44 + 0.09 * front)
        colours[neckline] = linear(person.skin)
    below = (above < outfit.hem) & ~tail
    colours[below] = linear(outfit.bottom_colour)
    belt = below & (above > outfit.hem - 0.035) & (outfit.top is not Top.DRESS)
    colours[belt] *= 0.4
    if person.bag is Bag.BACKPACK:
        straps = (np.abs(front - 0.75) < 0.17) & (above > 0.2)
        colours[straps] = 0.7 * linear(person.bag_colour)
    elif person.bag is Bag.SHOULDER:
        slope = 0.24 - person.bag_side * 0.27 * np.sin(around)
        colours[np.abs(above - slope) < 0.028] = 0.7 * linear(person.bag_colour)
    return colours


def _sleeve(person: Person, *, along: np.ndarray, around: np.ndarray) -> np.ndarray:
    outfit = person.outfit
    main, accent = linear(outfit.top_colour), linear(outfit.top_accent)
    match outfit.pattern:
        case Pattern.SLEEVES:
            mix = np.ones_like(along)
        case Pattern.STRIPES | Pattern.CHECKS | Pattern.PATCHES:
            mix = _pattern(
                outfit.pattern, size=outfit.pattern_size, above=along * 0.6, around=around
            )
        case _:
            mix = np.zeros_like(along)
    colours = main + mix[:, None] * (accent - main)
    if outfit.top is Top.PUFFER:
        colours *= _quilting(along * 7.0)
    return colours


def _quilting(ribs: np.ndarray) -> np.ndarray:
    """(M, 1) brightness of a puffer jacket, dark in the seams at whole numbers of ribs."""
    return (1.0 - 0.42 * (np.abs(ribs % 1.0 - 0.5) > 0.40))[:, None]


def _lower(person: Person, *, along: np.ndarray, around: np.ndarray) -> np.ndarray:
    outfit = person.outfit
    main = linear(outfit.bottom_colour)
    colours = np.broadcast_to(main, (len(along), 3)).copy()
    if outfit.side_stripe:
        if outfit.bottom in (Bottom.SKIRT, Bottom.LONG_SKIRT):
            stripe = (along * 9.0) % 1.0 < 0.3
        else:
            stripe = np.abs(np.abs(around) - math.pi / 2) < 0.35
        colours[stripe] = linear(outfit.bottom_accent)
    return colours


def _face(person: Person, *, up: np.ndarray, front: np.ndarray, side: np.ndarray) -> np.ndarray:
    skin, hair = linear(person.skin), linear(person.hair_colour)
    colours = np.broadcast_to(skin, (len(up), 3)).copy()
    eyes = (np.abs(up - 0.02) < 0.16) & (np.abs(np.abs(side) - 0.36) < 0.17) & (front > 0.3)
    colours[eyes] *= 0.25
    mouth = (np.abs(up + 0.72) < 0.11) & (np.abs(side) < 0.3) & (front > 0.4)
    colours[mouth] *= (0.75, 0.4, 0.4)
    if person.beard:
        colours[(up < -0.5 + 0.3 * np.abs(side)) & (front > -0.1) & ~mouth] = hair
    if person.hair is not Hair.BALD:
        grown = {Hair.SHORT: 0.0, Hair.BUN: 0.05}.get(person.hair, -0.12)
        hairy = up > 0.52 + grown + np.where(front > 0.25, 0.15, 0.0) + 0.95 * np.minimum(
            front, 0.35
        )
        colours[hairy] = hair
    if person.hat is Hat.HOOD:
        colours[front < 0.45] = linear(person.outfit.top_colour)
    elif person.hat is not Hat.NONE:
        colours[up > 0.55] = linear(person.hat_colour)
    return colours


def _pattern(kind: Pattern, *, size: float, above: np.ndarray, around: np.ndarray) -> np.ndarray:
    """(M,) share of the accent colour, 0..1."""
    around_m = around * np.float32(0.16)
    match kind:
        case Pattern.STRIPES:
            mix = (above / size) % 1.0 < 0.5
        case Pattern.PINSTRIPES:
            mix = (around_m / (0.6 * size)) % 1.0 < 0.3
        case Pattern.CHECKS:
            mix = 0.5 * ((above / size) % 1.0 < 0.5) + 0.5 * ((around_m / size) % 1.0 < 0.5)
        case Pattern.DOTS:
            u, v = (above / size) % 1.0 - 0.5, (around_m / size) % 1.0 - 0.5
            mix = u * u + v * v < 0.09
        case Pattern.BLOCK:
            mix = above > 0.30
        case Pattern.BAND:
            mix = np.abs(above - 0.27) < 0.05
        case Pattern.PRINT:
            mix = (np.abs(around) < 0.6) & (np.abs(above - 0.3) < 0.085)
        case Pattern.PATCHES:
            grain = _grain()
            rows = (above * (40 / size * 0.08)).astype(np.int64) % 128
            mix = grain[rows, (around * 8).astype(np.int64) % 128] > 0.1
        case _:
            mix = np.zeros(len(above), bool)
    return np.asarray(mix, np.float32)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """(128, 128) float32 smooth noise that tiles; mean 0, about -1..1."""
    white = stream("grain").standard_normal((128, 128))
    across = np.fft.fftfreq(128)
    falloff = np.exp(-((across[:, None] ** 2 + across[None, :] ** 2) * 60))
    smooth = np.fft.ifft2(np.fft.fft2(white) * falloff).real
    return (smooth / (2 * smooth.std())).astype(np.float32)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles brought into -pi..pi."""
    return angle - np.float32(2 * math.pi) * np.rint(angle * np.float32(0.5 / math.pi))
