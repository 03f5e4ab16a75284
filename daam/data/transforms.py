"""Random augmentation of uint8 batches, and their normalisation.

What happens to an image depends on its key alone (see `augmentation_keys`), never on the threads,
ranks or other images of the batch.

Shapes: B = images, H = height, W = width, C = 3 colour channels (RGB).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from daam.data.draws import draw_bits, draw_uniform
from daam.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FILL = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
_LUMA = (0.299, 0.587, 0.114)
_ERASED_AREA = (0.02, 0.4)
_LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))  # of height to width

# What a draw decides.
_FLIP, _TOP, _LEFT, _ERASE, _AREA, _ASPECT, _ERASE_TOP, _ERASE_LEFT = range(8)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(8, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly images are varied; 0 everywhere leaves them as they are.

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


def augmentation_keys(rows: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
    """One key for each image of a *global* batch: (B,) uint64.

    A row that is in the batch several times gets another key each time.
    """
    order = np.argsort(rows, kind="stable")
    index = np.arange(len(rows))
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = rows[order[1:]] != rows[order[:-1]]
    occurrence = np.empty_like(index)
    occurrence[order] = index - np.maximum.accumulate(np.where(begins, index, 0))
    return draw_bits(seed, epoch, step, rows, occurrence)


def augment(images: Tensor, *, augmentation: Augmentation, keys: np.ndarray) -> Tensor:
    """Vary images at random: first colour, then flip, pad and crop, then erasing.

    Padding and erased pixels get ImageNet's mean colour, which normalises to about 0.

    Args:
        images: (B, H, W, 3) uint8, on any device; not changed.
        augmentation: how strongly.
        keys: (B,) uint64, from `augmentation_keys`.

    Returns:
        (B, H, W, 3) uint8, on the same device.

    Raises:
        ConfigError: the padding is as large as the image.
    """
    height, width = images.shape[1:3]
    if augmentation.pad >= min(height, width):
        raise ConfigError(
            f"augmentation pad is {augmentation.pad}, but images have {height}x{width} pixels; "
            "choose a padding well below both"
        )
    place = _draw_placement(augmentation, keys=keys, height=height, width=width)
    images = _jitter_colour(images, augmentation=augmentation, keys=keys)
    if images.device.type == "cpu":
        return _place_by_slices(images, place)
    return _place_by_index(images, place)


def normalise(images: Tensor) -> Tensor:
    """Bring (B, H, W, 3) uint8 to ImageNet's mean and standard deviation.

    Returns:
        (B, 3, H, W) float32 on the same device, in channels-last memory format.
    """
    scale, shift = _normalising_constants(images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placement:
    """Where each image goes; all (B,).

    Output pixel (y, x) shows (y + down, x + right) of the flipped image, unless that lies outside
    or y is in [erase_top, erase_bottom) and x in [erase_left, erase_right).
    """

    flipped: np.ndarray
    down: np.ndarray
    right: np.ndarray
    erase_top: np.ndarray
    erase_bottom: np.ndarray
    erase_left: np.ndarray
    erase_right: np.ndarray


def _draw_placement(
    augmentation: Augmentation, *, keys: np.ndarray, height: int, width: int
) -> _Placement:
    num_shifts = 2 * augmentation.pad + 1
    area = height * width * _between(*_ERASED_AREA, draw_uniform(keys, _AREA))
    aspect = np.exp(_between(*_LOG_ASPECT, draw_uniform(keys, _ASPECT)))
    # A rectangle that would stick out is cut to the image: no rejection, so no loop.
    erased = draw_uniform(keys, _ERASE) < augmentation.erase
    erase_height = np.rint(np.sqrt(area * aspect)).astype(np.int64).clip(1, height) * erased
    erase_width = np.rint(np.sqrt(area / aspect)).astype(np.int64).clip(1, width) * erased
    erase_top = _below(height - erase_height + 1, draw_uniform(keys, _ERASE_TOP))
    erase_left = _below(width - erase_width + 1, draw_uniform(keys, _ERASE_LEFT))
    return _Placement(
        flipped=draw_uniform(keys, _FLIP) < augmentation.flip,
        down=_below(num_shifts, draw_uniform(keys, _TOP)) - augmentation.pad,
        right=_below(num_shifts, draw_uniform(keys, _LEFT)) - augmentation.pad,
        erase_top=erase_top,
        erase_bottom=erase_top + erase_height,
        erase_left=erase_left,
        erase_right=erase_left + erase_width,
    )


def _between(low: float, high: float, uniform: np.ndarray) -> np.ndarray:
    return low + (high - low) * uniform


def _below(limit: int | np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return (limit * uniform).astype(np.int64)


def _place_by_slices(images_BHWC: Tensor, place: _Placement) -> Tensor:
    """On a CPU, copying whole windows is 20 times as fast as indexing pixels."""
    num_images, height, width, _ = images_BHWC.shape
    fill_HWC = np.empty((height, width, 3), dtype=np.uint8)
    fill_HWC[:] = _FILL
    output_BHWC = np.empty(images_BHWC.shape, dtype=np.uint8)
    for i in range(num_images):
        # torch mirrors ten times as fast as NumPy; NumPy's slices cost a fraction of torch's.
        image = (images_BHWC[i].flip(1) if place.flipped[i] else images_BHWC[i]).numpy()
        output = output_BHWC[i]
        down, right = int(place.down[i]), int(place.right[i])
        if down or right:
            output[:] = fill_HWC
        output[max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)] = (
            image[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
        )
        erased = (
            slice(place.erase_top[i], place.erase_bottom[i]),
            slice(place.erase_left[i], place.erase_right[i]),
        )
        output[erased] = fill_HWC[erased]
    return torch.from_numpy(output_BHWC)


def _place_by_index(images_BHWC: Tensor, place: _Placement) -> Tensor:
    """The same as `_place_by_slices`, in a few kernels whatever the number of images."""
    num_images, height, width, _ = images_BHWC.shape
    device = images_BHWC.device
    settings = np.stack([getattr(place, name).astype(np.int64) for name in place.__slots__])
    flipped, down, right, erase_top, erase_bottom, erase_left, erase_right = (
        torch.from_numpy(settings).to(device)[:, :, None, None].unbind()
    )
    y_H1 = torch.arange(height, device=device)[:, None]
    x_1W = torch.arange(width, device=device)[None, :]
    from_y_BH1 = y_H1 + down
    shifted_B1W = x_1W + right
    inside_BHW = ((from_y_BH1 >= 0) & (from_y_BH1 < height)) & (
        (shifted_B1W >= 0) & (shifted_B1W < width)
    )
    erased_BHW = ((y_H1 >= erase_top) & (y_H1 < erase_bottom)) & (
        (x_1W >= erase_left) & (x_1W < erase_right)
    )
    from_x_B1W = torch.where(flipped.bool(), width - 1 - shifted_B1W, shifted_B1W)
    moved_BHWC = images_BHWC[
        torch.arange(num_images, device=device)[:, None, None],
        from_y_BH1.clamp(0, height - 1),
        from_x_B1W.clamp(0, width - 1),
    ]
    shown_BHW1 = (inside_BHW & ~erased_BHW)[..., None]
    return torch.where(shown_BHW1, moved_BHWC, _fill_colour(device))


def _jitter_colour(images: Tensor, *, augmentation: Augmentation, keys: np.ndarray) -> Tensor:
    """Brightness, contrast and saturation as one map for each image: a x + b grey(x) + c mean grey.

    Unlike in torchvision, values are cut to 0..255 once, at the end.
    """
    if not (augmentation.brightness or augmentation.contrast or augmentation.saturation):
        return images
    brightness, contrast, saturation = (
        1 + strength * (2 * draw_uniform(keys, draw) - 1)
        for strength, draw in (
            (augmentation.brightness, _BRIGHTNESS),
            (augmentation.contrast, _CONTRAST),
            (augmentation.saturation, _SATURATION),
        )
    )
    factors = np.stack(
        [
            brightness * contrast * saturation,
            brightness * contrast * (1 - saturation),
            brightness * (1 - contrast),
        ]
    )
    own_B111, grey_B111, mean_B111 = (
        torch.from_numpy(factors).float().to(images.device)[:, :, None, None, None].unbind()
    )
    images_BHWC = images.float()
    # Whole numbers add up exactly in any order, so the mean can't depend on the rest of the batch.
    sums_B11C = images.sum(dim=(1, 2), keepdim=True, dtype=torch.int64).float()
    mean_grey_B111 = _grey(sums_B11C) / (images.shape[1] * images.shape[2])
    shift_BHW1 = _grey(images_BHWC) * grey_B111 + mean_grey_B111 * mean_B111
    return (images_BHWC * own_B111 + shift_BHW1).round_().clamp_(0, 255).byte()


def _grey(images_BHWC: Tensor) -> Tensor:
    red, green, blue = images_BHWC.split(1, dim=-1)
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]


@cache
def _normalising_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept for each device: making them anew would stop the host until the device has caught up.
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)


@cache
def _fill_colour(device: torch.device) -> Tensor:
    return torch.tensor(_FILL, dtype=torch.uint8, device=device)
