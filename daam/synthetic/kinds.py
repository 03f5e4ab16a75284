"""The vocabulary of clothes, places and light that domains are put together from."""

from enum import StrEnum

import numpy as np

RGB = tuple[float, float, float]
"""A colour as shown on a screen (sRGB), each channel 0..1."""


def linear(colour: RGB) -> np.ndarray:
    """(3,) float32, the light that a surface of this colour reflects."""
    return np.asarray(colour, np.float32) ** np.float32(2.2)


class Top(StrEnum):
    TANK = "tank"
    TSHIRT = "tshirt"
    SHIRT = "shirt"
    SWEATER = "sweater"
    HOODIE = "hoodie"
    JACKET = "jacket"
    PUFFER = "puffer"
    COAT = "coat"
    DRESS = "dress"


class Bottom(StrEnum):
    TROUSERS = "trousers"
    WIDE = "wide"
    LEGGINGS = "leggings"
    SHORTS = "shorts"
    SKIRT = "skirt"
    LONG_SKIRT = "long_skirt"


class Pattern(StrEnum):
    PLAIN = "plain"
    STRIPES = "stripes"
    PINSTRIPES = "pinstripes"
    CHECKS = "checks"
    DOTS = "dots"
    BLOCK = "block"
    BAND = "band"
    PRINT = "print"
    PATCHES = "patches"
    SLEEVES = "sleeves"


class Hair(StrEnum):
    BALD = "bald"
    SHORT = "short"
    CURLY = "curly"
    BOB = "bob"
    LONG = "long"
    PONYTAIL = "ponytail"
    BUN = "bun"


class Bag(StrEnum):
    NONE = "none"
    BACKPACK = "backpack"
    SHOULDER = "shoulder"
    HANDBAG = "handbag"
    TROLLEY = "trolley"


class Hat(StrEnum):
    NONE = "none"
    CAP = "cap"
    BEANIE = "beanie"
    BRIM = "brim"
    HOOD = "hood"


class Shoe(StrEnum):
    SNEAKER = "sneaker"
    LEATHER = "leather"
    BOOT = "boot"
    SANDAL = "sandal"


class Ground(StrEnum):
    SLABS = "slabs"
    COBBLES = "cobbles"
    ASPHALT = "asphalt"
    TILES = "tiles"


class Wall(StrEnum):
    SHOPS = "shops"
    BRICK = "brick"
    PANELS = "panels"
    GLASS = "glass"
    TRAIN = "train"


class Strip(StrEnum):
    """What runs along the foot of the wall."""

    NONE = "none"
    GRASS = "grass"
    ROAD = "road"
    TRACKS = "tracks"


class Prop(StrEnum):
    TREE = "tree"
    BARE_TREE = "bare_tree"
    BIKE = "bike"
    BENCH = "bench"
    PILLAR = "pillar"
    LAMP = "lamp"
    PARASOL = "parasol"
    SIGN = "sign"
    BIN = "bin"
