"""The appearance of an identity: body, clothes and belongings, drawn from those of a domain."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from daam.synthetic.kinds import RGB, Bag, Bottom, Hair, Hat, Pattern, Shoe, Top
from daam.synthetic.settings import DomainLook
from daam.synthetic.streams import choose, pick, stream

SKINS: tuple[RGB, ...] = (
    (0.95, 0.80, 0.70),
    (0.90, 0.72, 0.58),
    (0.80, 0.60, 0.45),
    (0.64, 0.45, 0.33),
    (0.47, 0.32, 0.23),
    (0.34, 0.23, 0.17),
)
HAIRS: tuple[RGB, ...] = (
    (0.08, 0.07, 0.07),
    (0.22, 0.14, 0.09),
    (0.38, 0.24, 0.13),
    (0.78, 0.63, 0.36),
    (0.55, 0.24, 0.10),
    (0.68, 0.67, 0.66),
)
HAIR_WEIGHTS = (0.3, 0.26, 0.14, 0.12, 0.06, 0.12)

LONG_SLEEVES = frozenset({Top.SWEATER, Top.HOODIE, Top.JACKET, Top.PUFFER, Top.COAT})
OPENABLE = frozenset({Top.SHIRT, Top.HOODIE, Top.JACKET, Top.PUFFER, Top.COAT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outfit:
    """Upper and lower garment, which a group of look-alikes shares."""

    top: Top
    top_colour: RGB
    top_accent: RGB
    pattern: Pattern
    pattern_size: float
    """Metres from one stripe to the next."""
    sleeve: float
    """Covered share of the arm, 0..1."""
    hem: float
    """Height of the top's lower edge above the hip joint, metres; negative below it."""
    opening: float
    """Half the width of an open front, radians around the body; 0: closed."""
    inner_colour: RGB
    bottom: Bottom
    bottom_colour: RGB
    bottom_accent: RGB
    bottom_length: float
    """Covered share of the leg, 0..1."""
    side_stripe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An identity. Lengths in metres, colours in sRGB, shapes as factors around 1."""

    height_m: float
    girth: float
    shoulders: float
    hips: float
    leg_share: float
    stride: float
    arm_swing: float
    stoop: float
    skin: RGB
    hair: Hair
    hair_colour: RGB
    beard: bool
    outfit: Outfit
    shoe: Shoe
    shoe_colour: RGB
    sole_colour: RGB
    bag: Bag
    bag_colour: RGB
    bag_accent: RGB
    bag_side: int
    """-1 or +1: the shoulder or hand that carries it."""
    bag_size: float
    hat: Hat
    hat_colour: RGB
    scarf: bool
    scarf_colour: RGB


@lru_cache(maxsize=1024)
def draw_person(look: DomainLook, *, cast: str, identity: int) -> Person:
    """Identity number `identity` of a domain; `cast` names the stream ("people", "extras")."""
    rng = stream("person", look.seed, look.name, cast, identity)
    group = identity // max(look.look_alike_size, 1)
    alike = look.look_alike_size > 1 and rng.random() < look.look_alike_share
    whose = ("group", group) if alike else ("own", identity)
    outfit = _draw_outfit(look, rng=stream("outfit", look.seed, look.name, cast, *whose))
    if alike:
        outfit = replace(
            outfit,
            top_colour=_near(outfit.top_colour, 0.5 * look.colour_jitter, rng=rng),
            bottom_colour=_near(outfit.bottom_colour, 0.5 * look.colour_jitter, rng=rng),
        )

    # A skirt or a long coat leaves no room for long steps.
    narrow = outfit.hem < -0.1 or outfit.bottom in (Bottom.SKIRT, Bottom.LONG_SKIRT)
    feminine = rng.random() < 0.5
    height = rng.normal(1.66, 0.07) if feminine else rng.normal(1.78, 0.075)

    def about(mean: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, spread), low, high))

    accents = look.accent_palette
    hat = choose(rng, look.hats)
    if hat is Hat.HOOD and outfit.top not in (Top.HOODIE, Top.PUFFER, Top.COAT, Top.JACKET):
        hat = Hat.NONE
    hair = choose(rng, look.hair)
    if not feminine and hair in (Hair.LONG, Hair.BOB, Hair.PONYTAIL, Hair.BUN):
        hair = Hair.SHORT if rng.random() < 0.75 else hair
    return Person(
        height_m=float(np.clip(height, 1.48, 2.0)),
        girth=float(np.clip(np.exp(rng.normal(0.0, 0.17)), 0.78, 1.5)),
        shoulders=about(0.95 if feminine else 1.06, 0.05, 0.85, 1.2),
        hips=about(1.06 if feminine else 0.96, 0.05, 0.85, 1.2),
        leg_share=about(1.0, 0.025, 0.94, 1.06),
        stride=about(0.42, 0.07, 0.22, 0.6) * (0.75 if narrow else 1.0),
        arm_swing=about(0.9, 0.3, 0.2, 1.6),
        stoop=about(0.06, 0.05, -0.03, 0.24),
        skin=_near(SKINS[int(rng.choice(6, p=(0.24, 0.28, 0.2, 0.12, 0.1, 0.06)))], 0.02, rng=rng),
        hair=hair,
        hair_colour=_near(HAIRS[int(rng.choice(6, p=HAIR_WEIGHTS))], 0.02, rng=rng),
        beard=not feminine and bool(rng.random() < 0.3),
        outfit=outfit,
        shoe=choose(rng, look.shoes),
        shoe_colour=_pick(
            ((0.08, 0.08, 0.09), (0.9, 0.9, 0.88), (0.35, 0.22, 0.14), *accents[:4]), look, rng=rng
        ),
        sole_colour=(0.9, 0.9, 0.88) if rng.random() < 0.6 else (0.12, 0.11, 0.1),
        bag=choose(rng, look.bags),
        bag_colour=_pick(accents, look, rng=rng),
        bag_accent=_pick(accents, look, rng=rng),
        bag_side=1 if rng.random() < 0.5 else -1,
        bag_size=float(rng.uniform(0.75, 1.25)),
        hat=hat,
        hat_colour=_pick(accents, look, rng=rng),
        scarf=bool(rng.random() < look.scarf_share),
        scarf_colour=_pick(accents, look, rng=rng),
    )


def _draw_outfit(look: DomainLook, *, rng: np.random.Generator) -> Outfit:
    top = choose(rng, look.tops)
    bottom = choose(rng, look.bottoms)
    if top is Top.DRESS:
        bottom = Bottom.LEGGINGS if rng.random() < 0.3 else Bottom.SHORTS
    if top is Top.TANK:
        sleeve = 0.0
    elif top in LONG_SLEEVES:
        sleeve = 0.55 if top in (Top.SWEATER, Top.HOODIE) and rng.random() < 0.2 else 0.97
    elif top is Top.SHIRT:
        sleeve = float(rng.choice((0.35, 0.55, 0.97)))
    else:
        sleeve = float(rng.choice((0.12, 0.28, 0.36)))
    hem = {
        Top.COAT: float(rng.uniform(-0.42, -0.2)),
        Top.DRESS: float(rng.uniform(-0.5, -0.28)),
        Top.PUFFER: float(rng.uniform(-0.14, 0.03)),
        Top.JACKET: float(rng.uniform(-0.06, 0.05)),
        Top.TANK: float(rng.uniform(-0.02, 0.1)),
    }.get(top, float(rng.uniform(-0.06, 0.06)))
    opening = float(rng.uniform(0.2, 0.55)) if top in OPENABLE and rng.random() < 0.4 else 0.0
    length = {
        Bottom.SHORTS: float(rng.uniform(0.3, 0.5)),
        Bottom.SKIRT: float(rng.uniform(0.3, 0.5)),
        Bottom.LONG_SKIRT: float(rng.uniform(0.72, 0.88)),
    }.get(bottom, 0.96)
    return Outfit(
        top=top,
        top_colour=_pick(look.top_palette, look, rng=rng),
        top_accent=_pick(look.top_palette + look.accent_palette, look, rng=rng),
        pattern=choose(rng, look.patterns),
        pattern_size=float(rng.uniform(0.07, 0.15)),
        sleeve=sleeve,
        hem=hem,
        opening=opening,
        inner_colour=_pick((*look.top_palette, (0.93, 0.93, 0.91)), look, rng=rng),
        bottom=bottom,
        bottom_colour=_pick(look.bottom_palette, look, rng=rng),
        bottom_accent=_pick(look.accent_palette, look, rng=rng),
        bottom_length=length,
        side_stripe=bool(rng.random() < 0.15),
    )


def _pick(palette: tuple[RGB, ...], look: DomainLook, *, rng: np.random.Generator) -> RGB:
    return _near(pick(rng, palette), look.colour_jitter, rng=rng)


def _near(colour: RGB, spread: float, *, rng: np.random.Generator) -> RGB:
    red, green, blue = (min(0.98, max(0.03, c + rng.normal(0, spread))) for c in colour)
    return (red, green, blue)
