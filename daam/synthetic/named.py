"""The named domains, and domains drawn from a seed for every other name."""

from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from daam.domains import check_domain
from daam.synthetic.kinds import (
    RGB,
    Bag,
    Bottom,
    Ground,
    Hat,
    Pattern,
    Prop,
    Shoe,
    Strip,
    Top,
    Wall,
)
from daam.synthetic.settings import DomainLook
from daam.synthetic.streams import pick, stream

Kind = TypeVar("Kind", bound=StrEnum)


def domain_look(name: str, *, seed: int) -> DomainLook:
    """The look of a domain: one of `DOMAINS` by its name, any other name drawn from the seed.

    Raises:
        ConfigError: the name can't be a domain's.
    """
    check_domain(name)
    if name in DOMAINS:
        return replace(DOMAINS[name], seed=seed)
    return _drawn_domain(name, seed=seed)


def _drawn_domain(name: str, *, seed: int) -> DomainLook:
    """A domain whose clothes, place, light and cameras each come from a named one, then vary."""
    rng = stream("domain", seed, name)
    named = list(DOMAINS.values())
    people, place, light, make = (pick(rng, named) for _ in range(4))

    def vary(palette: tuple[RGB, ...], *, spread: float) -> tuple[RGB, ...]:
        shifted = np.clip(
            np.asarray(palette) + rng.normal(0, spread, (len(palette), 3)), 0.06, 0.97
        )
        return tuple((float(r), float(g), float(b)) for r, g, b in shifted)

    tint = np.exp(rng.normal(0, 0.05, 3))
    return replace(
        people,
        name=name,
        seed=seed,
        top_palette=vary(people.top_palette, spread=0.12),
        bottom_palette=vary(people.bottom_palette, spread=0.08),
        accent_palette=vary(people.accent_palette, spread=0.12),
        grounds=place.grounds,
        ground_palette=vary(place.ground_palette, spread=0.05),
        walls=place.walls,
        wall_palette=vary(place.wall_palette, spread=0.08),
        strips=place.strips,
        props=place.props,
        foliage=vary(place.foliage, spread=0.05),
        leaf_litter=place.leaf_litter,
        sun=light.sun * float(rng.uniform(0.6, 1.3)),
        sun_colour=light.sun_colour,
        sky_colour=light.sky_colour,
        haze=light.haze * float(rng.uniform(0.5, 1.5)),
        wetness=light.wetness,
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        contrast=make.contrast * float(rng.uniform(0.92, 1.08)),
        saturation=make.saturation * float(rng.uniform(0.85, 1.15)),
        native_height=make.native_height,
        noise_level=make.noise_level * float(rng.uniform(0.7, 1.4)),
        sharpening=make.sharpening,
        vignette=make.vignette,
        jpeg_quality=make.jpeg_quality,
    )


def _weighted(kind: type[Kind], **weights: float) -> tuple[tuple[Kind, float], ...]:
    """Options of a kind by name, with their weights."""
    return tuple((kind(name), weight) for name, weight in weights.items())


def _rgb(text: str) -> tuple[RGB, ...]:
    """Colours from hexadecimal words."""
    return tuple((r / 255, g / 255, b / 255) for r, g, b in map(bytes.fromhex, text.split()))


_PLAZA = DomainLook(
    name="plaza",
    seed=0,
    tops=_weighted(Top, tshirt=5, tank=1.5, shirt=2.5, dress=1.5, hoodie=1, sweater=0.7),
    bottoms=_weighted(
        Bottom, shorts=3.5, trousers=3, skirt=1.5, leggings=1, long_skirt=0.8, wide=1
    ),
    shoes=_weighted(Shoe, sneaker=5, sandal=2, leather=1),
    bags=_weighted(Bag, none=4, backpack=2.5, shoulder=2.5, handbag=2),
    hats=_weighted(Hat, none=7, cap=1.6, brim=1),
    patterns=_weighted(
        Pattern,
        plain=4,
        stripes=1.6,
        checks=1,
        dots=0.7,
        block=1,
        band=1,
        print=2,
        sleeves=1,
        patches=0.5,
    ),
    scarf_share=0.02,
    top_palette=_rgb("f2f0ea d93a34 f4c531 3f8fd2 59b06a f08aa5 20222a 8ed0d6 e57a2c"),
    bottom_palette=_rgb("3d5a88 c9b48a 23252c e9e6dc 6f8fb5 7a7f57"),
    accent_palette=_rgb("1d1d22 b5512b e6d9b8 c02b4a 2d6a8c f3cf52 f7f5f0"),
    grounds=_weighted(Ground, slabs=3, cobbles=2),
    ground_palette=_rgb("c9bda6 b8ab98 d6cdbb bca48a"),
    walls=_weighted(Wall, shops=4, panels=1),
    wall_palette=_rgb("e3cfa6 d9a882 efe4cf c98f6f d8d2c4"),
    strips=_weighted(Strip, none=3, grass=1),
    props=_weighted(Prop, tree=3, parasol=3, bench=2, bike=2, lamp=1, bin=1),
    foliage=_rgb("4f8a3a 6ba247 3d7236"),
    leaf_litter=0.0,
    sun=1.5,
    sun_colour=(1.0, 0.93, 0.8),
    sky_colour=(0.62, 0.74, 0.95),
    haze=0.02,
    wetness=0.0,
    tint=(1.04, 1.0, 0.95),
    contrast=1.12,
    saturation=1.15,
    native_height=(95.0, 150.0),
    noise_level=0.008,
    sharpening=0.5,
    vignette=0.1,
    jpeg_quality=(86, 93),
)

_CAMPUS = DomainLook(
    name="campus",
    seed=0,
    tops=_weighted(Top, jacket=4, hoodie=3.5, sweater=2, shirt=1.5, coat=1),
    bottoms=_weighted(Bottom, trousers=6, leggings=1.5, wide=1.2, skirt=0.8, shorts=0.4),
    shoes=_weighted(Shoe, sneaker=5, boot=2, leather=1),
    bags=_weighted(Bag, none=2.5, backpack=5, shoulder=2.5, handbag=0.6),
    hats=_weighted(Hat, none=7, beanie=1.4, cap=1, hood=0.6),
    patterns=_weighted(
        Pattern, plain=5, checks=1.5, block=1.2, band=0.8, print=1.2, sleeves=1.2, stripes=0.8
    ),
    scarf_share=0.2,
    top_palette=_rgb("5b6b3c 7d3b2e 8a8d91 26324f c39a4b 2b2c30 a9613a 4c7a86 d8d0bd"),
    bottom_palette=_rgb("2c3a57 22242b 6d6455 4b5663 8a7a5c"),
    accent_palette=_rgb("1f2126 8f2f2a 3c5a40 c58a34 46536e b9b3a4 d0542f"),
    grounds=_weighted(Ground, asphalt=3, slabs=2),
    ground_palette=_rgb("7f8083 8d8a84 777c80 9a9288"),
    walls=_weighted(Wall, brick=4, glass=1.5, panels=1),
    wall_palette=_rgb("8e4f3d 7a4335 a06a50 6f5148 9c8a7a"),
    strips=_weighted(Strip, grass=5, road=2),
    props=_weighted(Prop, tree=5, bike=4, bench=1.5, lamp=1.5, sign=1, bare_tree=1),
    foliage=_rgb("b5722a a8512a c29a37 7d7a37"),
    leaf_litter=0.5,
    sun=0.35,
    sun_colour=(1.0, 0.9, 0.78),
    sky_colour=(0.80, 0.83, 0.86),
    haze=0.04,
    wetness=0.15,
    tint=(0.96, 1.01, 1.0),
    contrast=0.98,
    saturation=0.95,
    native_height=(74.0, 115.0),
    noise_level=0.009,
    sharpening=0.1,
    vignette=0.16,
    jpeg_quality=(78, 88),
)

_STATION = DomainLook(
    name="station",
    seed=0,
    tops=_weighted(Top, coat=4.5, puffer=3.5, jacket=3, hoodie=1),
    bottoms=_weighted(Bottom, trousers=6, wide=1.2, leggings=1.5, long_skirt=0.8),
    shoes=_weighted(Shoe, boot=4, leather=3, sneaker=3),
    bags=_weighted(Bag, none=2.5, backpack=2.5, shoulder=2.5, handbag=1.5, trolley=2),
    hats=_weighted(Hat, none=5, beanie=3, hood=1.2, brim=0.4, cap=0.4),
    patterns=_weighted(Pattern, plain=6, checks=0.8, block=1.2, band=1.2),
    scarf_share=0.45,
    top_palette=_rgb("1c1d22 2a3146 55585d 5a4636 7a2532 35503f b0946c 828c99 8a6a2c 3d6a76"),
    bottom_palette=_rgb("1b1c21 2a3142 43454a 3b332d"),
    accent_palette=_rgb("7c1f2b c7bba6 20222a d2a33c 5f6f86 8c5a34 d9d9d6"),
    grounds=_weighted(Ground, tiles=4, slabs=1),
    ground_palette=_rgb("8f948f a3a39b 7b8286 989084"),
    walls=_weighted(Wall, panels=3, train=3, glass=1),
    wall_palette=_rgb("c8cfc9 6f8a96 b9b39b 93a39a d5d8d4"),
    strips=_weighted(Strip, tracks=4, none=2),
    props=_weighted(Prop, pillar=4, bench=2, sign=3, bin=1.5),
    foliage=_rgb("4a5a3a"),
    leaf_litter=0.0,
    sun=0.45,
    sun_colour=(1.0, 0.96, 0.78),
    sky_colour=(0.62, 0.66, 0.56),
    haze=0.05,
    wetness=0.45,
    tint=(1.0, 1.03, 0.91),
    contrast=1.05,
    saturation=0.82,
    native_height=(70.0, 120.0),
    noise_level=0.012,
    sharpening=0.3,
    vignette=0.22,
    jpeg_quality=(76, 88),
)

DOMAINS = {look.name: look for look in (_PLAZA, _CAMPUS, _STATION)}
"""Summer sun on a square; overcast autumn between brick; winter under artificial light."""
