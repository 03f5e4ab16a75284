"""The vocabulary of clothes, places and light that domains are put together from."""

from enum import StrEnum

import numpy as np

RGB = tuple[float, float, float]
"""A colour as shown on a screen (sRGB), each channel 0..1."""


def linear(colour: RGB) -> np.ndarray:
    """(3,) float32, the light that a surface of this colour reflects."""
    return np.asarray(colour, np.float32) ** np.float32(2.2)


Top = StrEnum("Top", "TANK TSHIRT SHIRT SWEATER HOODIE JACKET PUFFER COAT DRESS")
Bottom = StrEnum("Bottom", "TROUSERS WIDE LEGGINGS SHORTS SKIRT LONG_SKIRT")
Pattern = StrEnum(
    "Pattern", "PLAIN STRIPES PINSTRIPES CHECKS DOTS BLOCK BAND PRINT PATCHES SLEEVES"
)
Hair = StrEnum("Hair", "BALD SHORT CURLY BOB LONG PONYTAIL BUN")
Bag = StrEnum("Bag", "NONE BACKPACK SHOULDER HANDBAG TROLLEY")
Hat = StrEnum("Hat", "NONE CAP BEANIE BRIM HOOD")
Shoe = StrEnum("Shoe", "SNEAKER LEATHER BOOT SANDAL")
Ground = StrEnum("Ground", "SLABS COBBLES ASPHALT TILES")
Wall = StrEnum("Wall", "SHOPS BRICK PANELS GLASS TRAIN")
Strip = StrEnum("Strip", "NONE GRASS ROAD TRACKS")
"""What runs along the foot of the wall."""
Prop = StrEnum("Prop", "TREE BARE_TREE BIKE BENCH PILLAR LAMP PARASOL SIGN BIN")
