"""Augmentation of a batch: drawn per image first, then applied in one of two ways.

`augment_each` goes through images one by one, on a CPU; `augment_batch` processes a batch in a few
kernels, on any device and without waiting for it. Both give the same pixels: first colour, then
flip, pad and crop, then erasing. Padding and erased pixels get ImageNet's mean colour, which
normalises to about 0.

Shapes: B = images, H = height, W = width, C = 3 colour channels (RGB).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from daam.dataset.draws import draw_bits, draw_uniform
from daam.dataset.pixels.buffers import to_device
from daam.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)

_FILL = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
_LUMA = (0.299, 0.587, 0.114)
_ERASED_AREA = (0.02, 0.4)
_LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))  # of height to width

# What a draw decides.
_FLIP, _TOP, _LEFT, _ERASE, _AREA, _ASPECT, _ERASE_TOP, _ERASE_LEFT = range(8)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(8, 11)
_NUM_DRAWS = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly images are augmented; 0 everywhere leaves them as they are.

    Attributes:
        flip: probability of a horizontal flip.
        pad: pixels added to each side before cropping back to the size at a random place.
        erase: probability that a rectangle is erased (Zhong et al. 2017, arXiv:1708.04896): 2 to
            40 % of the area, height to width from .3 to 3.3.
        brightness: b, factor drawn from [1 - b, 1 + b].
        contrast: likewise, around the image's mean grey.
        saturation: likewise, around each pixel's grey.
    """

    flip: float = 0
    pad: int = 0
    erase: float = 0
    brightness: float = 0
    contrast: float = 0
    saturation: float = 0

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "brightness", "contrast", "saturation"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"augmentation {name} is {value}; choose a number from 0 to 1")
        if self.pad < 0:
            raise ConfigError(f"augmentation pad is {self.pad}; choose 0 or more pixels")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnAugmentation:
    """What was drawn for each image of a batch: a change of colour, then of place.

    Output pixel (y, x) is pixel (y + down, x + right) of the image, flipped or not; or the fill
    colour if that lies outside, or if y is in [top, bottom) and x in [left, right).

    Attributes:
        places: (B, 7) int64: flipped, down, right, top, bottom, left, right.
        colours: (B, 3) float32 weights of the pixel, of its grey, and of the image's mean grey;
            None leaves colours as they are.
    """

    places: Tensor
    colours: Tensor | None

    def part(self, images: slice) -> "DrawnAugmentation":
        """What was drawn for some of the images."""
        colours = None if self.colours is None else self.colours[images]
        return DrawnAugmentation(places=self.places[images], colours=colours)

    def to_device(self, device: torch.device) -> "DrawnAugmentation":
        """The same on a device, without waiting for it."""
        colours = None if self.colours is None else to_device(self.colours, device)
        return DrawnAugmentation(places=to_device(self.places, device), colours=colours)


def augmentation_keys(rows: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
    """One key per image of a *global* batch: (B,) uint64, what its augmentation depends on.

    Threads, ranks and the other images don't count. A row that is in the batch several times gets
    another key each time.
    """
    order = np.argsort(rows, kind="stable")
    index = np.arange(len(rows))
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = rows[order[1:]] != rows[order[:-1]]
    occurrence = np.empty_like(index)
    occurrence[order] = index - np.maximum.accumulate(np.where(begins, index, 0))
    return draw_bits(seed, epoch, step, rows, occurrence)


def draw_augmentation(
    augmentation: Augmentation, *, keys: np.ndarray, height: int, width: int
) -> DrawnAugmentation:
    """Draw the augmentation of images, each a function of the image's key alone.

    Args:
        augmentation: how strongly.
        keys: (B,) uint64, from `augmentation_keys`.
        height: H of the images.
        width: W of the images.

    Raises:
        ConfigError: the padding is as large as the image.
    """
    if augmentation.pad >= min(height, width):
        raise ConfigError(
            f"augmentation pad is {augmentation.pad}, but images have {height}x{width} pixels; "
            "choose a padding well below both"
        )
    uniform = draw_uniform(keys, np.arange(_NUM_DRAWS)[:, None])
    num_shifts = 2 * augmentation.pad + 1
    area = height * width * _between(*_ERASED_AREA, uniform[_AREA])
    aspect = np.exp(_between(*_LOG_ASPECT, uniform[_ASPECT]))
    # A rectangle larger than the image is clipped to it: no rejection, so no loop.
    erased = uniform[_ERASE] < augmentation.erase
    erase_height = np.rint(np.sqrt(area * aspect)).astype(np.int64).clip(1, height) * erased
    erase_width = np.rint(np.sqrt(area / aspect)).astype(np.int64).clip(1, width) * erased
    top = _below(height - erase_height + 1, uniform[_ERASE_TOP])
    left = _below(width - erase_width + 1, uniform[_ERASE_LEFT])
    places = (
        uniform[_FLIP] < augmentation.flip,
        _below(num_shifts, uniform[_TOP]) - augmentation.pad,
        _below(num_shifts, uniform[_LEFT]) - augmentation.pad,
        top,
        top + erase_height,
        left,
        left + erase_width,
    )
    return DrawnAugmentation(
        places=torch.from_numpy(np.stack(places, axis=1).astype(np.int64)),
        colours=_colours(augmentation, uniform),
    )


def augment_each(images: np.ndarray, drawn: DrawnAugmentation) -> None:
    """Augment (B, H, W, 3) uint8 images in place, one after the other.

    On a CPU that is 20 times as fast as indexing pixels.
    """
    height, width = images.shape[1:3]
    fill_HWC = _fill_image(height, width)
    for i, (image, place) in enumerate(zip(images, drawn.places.tolist(), strict=True)):
        # Slices cost a fraction of torch's in NumPy.
        is_flipped, down, right, top, bottom, left, end = place
        if drawn.colours is not None:
            own = drawn.colours[i : i + 1]
            image[:] = _recoloured(torch.from_numpy(image)[None], own)[0].numpy()
        if is_flipped:  # torch flips ten times as fast as NumPy
            image[:] = torch.from_numpy(image).flip(1).numpy()
        if down or right:
            to_y = slice(max(-down, 0), height - max(down, 0))
            to_x = slice(max(-right, 0), width - max(right, 0))
            from_y = slice(max(down, 0), height + min(down, 0))
            from_x = slice(max(right, 0), width + min(right, 0))
            moved = image[from_y, from_x].copy()
            image[:] = fill_HWC
            image[to_y, to_x] = moved
        if top < bottom:
            image[top:bottom, left:end] = fill_HWC[top:bottom, left:end]


def augment_batch(images_BHWC: Tensor, drawn: DrawnAugmentation) -> Tensor:
    """Return augmented copies of (B, H, W, 3) uint8 images; `drawn` is on their device."""
    if drawn.colours is not None:
        images_BHWC = _recoloured(images_BHWC, drawn.colours)
    num_images, height, width, _ = images_BHWC.shape
    device = images_BHWC.device
    flipped, down, right, top, bottom, left, end = drawn.places[:, :, None, None].unbind(1)
    y_H1 = torch.arange(height, device=device)[:, None]
    x_1W = torch.arange(width, device=device)[None, :]
    from_y_BH1 = y_H1 + down
    shifted_B1W = x_1W + right
    inside_BHW = ((from_y_BH1 >= 0) & (from_y_BH1 < height)) & (
        (shifted_B1W >= 0) & (shifted_B1W < width)
    )
    erased_BHW = ((y_H1 >= top) & (y_H1 < bottom)) & ((x_1W >= left) & (x_1W < end))
    from_x_B1W = torch.where(flipped.bool(), width - 1 - shifted_B1W, shifted_B1W)
    moved_BHWC = images_BHWC[
        torch.arange(num_images, device=device)[:, None, None],
        from_y_BH1.clamp(0, height - 1),
        from_x_B1W.clamp(0, width - 1),
    ]
    shown_BHW1 = (inside_BHW & ~erased_BHW)[..., None]
    return torch.where(shown_BHW1, moved_BHWC, _fill_colour(device))


def _colours(augmentation: Augmentation, uniform: np.ndarray) -> Tensor | None:
    """Brightness, contrast and saturation as one map per image: a x + b grey(x) + c mean grey.

    Unlike in torchvision, values are clipped to 0..255 once, at the end.
    """
    if not (augmentation.brightness or augmentation.contrast or augmentation.saturation):
        return None
    brightness, contrast, saturation = (
        1 + strength * (2 * uniform[draw] - 1)
        for strength, draw in (
            (augmentation.brightness, _BRIGHTNESS),
            (augmentation.contrast, _CONTRAST),
            (augmentation.saturation, _SATURATION),
        )
    )
    factors = (
        brightness * contrast * saturation,
        brightness * contrast * (1 - saturation),
        brightness * (1 - contrast),
    )
    return torch.from_numpy(np.stack(factors, axis=1)).float()


def _recoloured(images: Tensor, colours: Tensor) -> Tensor:
    own_B111, grey_B111, mean_B111 = colours[:, :, None, None, None].unbind(1)
    images_BHWC = images.float()
    # Integers add up exactly in any order, so the mean can't depend on the rest of the batch.
    sums_B11C = images.sum(dim=(1, 2), keepdim=True, dtype=torch.int64).float()
    mean_grey_B111 = _grey(sums_B11C) / (images.shape[1] * images.shape[2])
    shift_BHW1 = _grey(images_BHWC) * grey_B111 + mean_grey_B111 * mean_B111
    return (images_BHWC * own_B111 + shift_BHW1).round_().clamp_(0, 255).byte()


def _grey(images_BHWC: Tensor) -> Tensor:
    red, green, blue = images_BHWC.split(1, dim=-1)
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]


def _between(low: float, high: float, uniform: np.ndarray) -> np.ndarray:
    return low + (high - low) * uniform


def _below(limit: int | np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return (limit * uniform).astype(np.int64)


@cache
def _fill_image(height: int, width: int) -> np.ndarray:
    image_HWC = np.empty((height, width, 3), dtype=np.uint8)
    image_HWC[:] = _FILL
    return image_HWC


@cache
def _fill_colour(device: torch.device) -> Tensor:
    # Cached per device: creating it would block the host until the device has caught up.
    return torch.tensor(_FILL, dtype=torch.uint8, device=device)
