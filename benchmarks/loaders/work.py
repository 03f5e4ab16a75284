"""The work that every loader is given: a JPEG to an augmented, normalised image of a batch.

B = images in a batch, always 64; H = 256, W = 128. A batch is finished when it is (B, 3, H, W)
float32, normalised, on the side of the training process.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

HEIGHT, WIDTH, BATCH_SIZE = 256, 128, 64
NUM_WORKERS = 2
FLIP, PAD, ERASE = 0.5, 10, 0.5
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), (0.3, 3.3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL, GREY = (124, 116, 104), 115  # the mean in levels; torchvision pads tensors with one number

Kind = Literal["documented", "given ours", "plain"]
Decoder = Literal["pillow", "torchvision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a loader does with its JPEGs; all parts can be pickled for its workers.

    Attributes:
        each: one JPEG, in a worker.
        collate: a batch of what `each` returned, in a worker.
        finish: a batch, in the training process.
        augmented: whether images are varied at random.
    """

    each: Callable[[bytes], Any]
    collate: Callable[[Sequence[Any]], Tensor]
    finish: Callable[[Tensor], Tensor]
    augmented: bool = True


def work_of(kind: Kind, *, decoder: Decoder = "pillow") -> Work:
    """The work as the loader's documentation does it, or with our decoder and transform.

    Args:
        kind: `documented`: torchvision's transforms on one image at a time. `given ours`: a
            worker decodes and augments a whole batch as we do, and the training process normalises
            it. `plain`: as documented, without augmentation.
        decoder: the one of the loader's own image type.
    """
    if kind == "given ours":
        return Work(each=_as_it_is, collate=_decoded_by_ours, finish=_normalised_by_ours)
    from torchvision import transforms  # takes seconds, which not every side needs

    decode = _by_pillow if decoder == "pillow" else _by_torchvision
    change = [
        transforms.RandomHorizontalFlip(FLIP),
        transforms.Pad(PAD, fill=FILL if decoder == "pillow" else GREY),  # type: ignore[arg-type]
        transforms.RandomCrop((HEIGHT, WIDTH)),
    ]
    to_float = (
        transforms.ToTensor()
        if decoder == "pillow"
        else transforms.ConvertImageDtype(torch.float32)
    )
    normalise = transforms.Normalize(MEAN, STD)
    steps = (
        [to_float, normalise]
        if kind == "plain"
        else [
            *change,
            to_float,
            normalise,
            transforms.RandomErasing(ERASE, scale=ERASED_AREA, ratio=ERASED_ASPECT),
        ]
    )
    return Work(
        each=_Each(decode, transforms.Compose(steps)),
        collate=_stacked,
        finish=_as_it_is,
        augmented=kind != "plain",
    )


@dataclass(frozen=True, slots=True)
class _Each:
    decode: Callable[[bytes], Any]
    transform: Callable[[Any], Tensor]

    def __call__(self, jpeg: bytes) -> Tensor:
        return self.transform(self.decode(jpeg))


def _by_pillow(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _by_torchvision(jpeg: bytes) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    data = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
    image = decode_jpeg(data, mode=ImageReadMode.RGB)
    assert isinstance(image, Tensor)
    return image


def _stacked(images: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(images))


def _as_it_is(value: Any) -> Any:
    return value


def _decoded_by_ours(jpegs: Sequence[bytes]) -> Tensor:
    from daam.dataset.pixels.augmentation import Augmentation, augment_each, draw_augmentation
    from daam.dataset.pixels.decode import decode_images

    keys = np.random.default_rng().integers(2**63, size=len(jpegs), dtype=np.uint64)
    drawn = draw_augmentation(
        Augmentation(flip=FLIP, pad=PAD, erase=ERASE), keys=keys, height=HEIGHT, width=WIDTH
    )
    images = decode_images(jpegs, height=HEIGHT, width=WIDTH)
    augment_each(images.numpy(), drawn)
    return images


def _normalised_by_ours(images: Tensor) -> Tensor:
    from daam.dataset.pixels.normalise import normalise

    return normalise(images)
