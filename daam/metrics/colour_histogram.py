"""A baseline without learning: retrieval by the colours of the clothes alone.

Its mAP beside a model's shows how much of a domain colour solves. Shapes: B = images,
H = height, W = width, D = width of the histogram, S = stripes, C = colour bins.
"""

import colorsys
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

NUM_HUES = 12
NUM_SATURATIONS = 3
NUM_VALUES = 4
NUM_GREYS = 6
NUM_COLOUR_BINS = NUM_GREYS + NUM_HUES * NUM_SATURATIONS * NUM_VALUES
# Colours less saturated or darker than this are binned by brightness alone.
GREY_SATURATION = 0.15
BLACK_VALUE = 0.15
# Each channel is cut to its 5 highest bits, so that a table of 32768 colours holds every bin.
CHANNEL_BITS = 5


def colour_histogram(images: Tensor, *, stripes: int = 8) -> Tensor:
    """(B, D) float32, L2-normalised: a histogram of hue, saturation and value per stripe.

    The image is cut into horizontal stripes (head, chest, hips, ... of an upright person). The
    root of each bin's share is taken, so that the dot product of two embeddings is the mean over
    the stripes of their Bhattacharyya coefficients. Cameras and lights shift colours between bins;
    that is left uncorrected, so that the baseline shows it.

    Args:
        images: (B, H, W, 3), uint8, RGB, on the CPU.
        stripes: equal parts of the height, 1 to H.
    """
    num_images, height, width = images.shape[:3]
    pixels = images.numpy() >> (8 - CHANNEL_BITS)
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    bins_BHW = _bin_of_colour()[((red << CHANNEL_BITS) + green << CHANNEL_BITS) + blue]

    stripe_H = np.arange(height) * stripes // height
    stripe_BH = np.arange(num_images)[:, None] * stripes + stripe_H
    slots = bins_BHW + NUM_COLOUR_BINS * stripe_BH[:, :, None]
    counts = np.bincount(slots.ravel(), minlength=num_images * stripes * NUM_COLOUR_BINS)
    counts_SC = torch.from_numpy(counts).float().view(num_images, stripes, NUM_COLOUR_BINS)
    rows_S = torch.from_numpy(np.bincount(stripe_H, minlength=stripes))
    share = counts_SC / (rows_S * width)[:, None]
    return normalize(share.sqrt().flatten(1), dim=1)


@cache
def _bin_of_colour() -> NDArray[np.int64]:
    """The bin of each colour of 3 x CHANNEL_BITS bits, red highest."""
    levels = 1 << CHANNEL_BITS
    return np.array(
        [
            _bin((red + 0.5) / levels, (green + 0.5) / levels, (blue + 0.5) / levels)
            for red in range(levels)
            for green in range(levels)
            for blue in range(levels)
        ]
    )


def _bin(red: float, green: float, blue: float) -> int:
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if saturation < GREY_SATURATION or value < BLACK_VALUE:
        return int(value * NUM_GREYS)
    chroma = (saturation - GREY_SATURATION) / (1 - GREY_SATURATION)
    brightness = (value - BLACK_VALUE) / (1 - BLACK_VALUE)
    # Half a bin further, so that red, where hues start and end, is the middle of a bin.
    hue_bin = int(hue * NUM_HUES + 0.5) % NUM_HUES
    bin_of_hue = hue_bin * NUM_SATURATIONS + int(chroma * NUM_SATURATIONS)
    return NUM_GREYS + bin_of_hue * NUM_VALUES + int(brightness * NUM_VALUES)
