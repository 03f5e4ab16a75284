"""JPEGs to pixels on a device; on a GPU by nvJPEG.

Shapes: B = images asked for, H = height, W = width; RGB, channels last.
"""

import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg

from daam.dataset.pixels.decode import Jpeg, decode_images
from daam.dataset.pixels.reader import ImageSource
from daam.errors import DataError

log = logging.getLogger(__name__)


class DevicePixels:
    """Pixels by row, decoded by torchvision on a device; any number of threads may read at once.

    On a CPU they are bitwise those of `PixelReader` at the stored size. nvJPEG's differ: it rounds
    in its own way, and repeats colours stored at half the resolution (4:2:0) where others
    interpolate, so that edges of colours are off by dozens of levels. None are kept. What nvJPEG
    refuses, such as CMYK, is decoded on the CPU.
    """

    def __init__(
        self, source: ImageSource, *, height: int, width: int, device: torch.device
    ) -> None:
        self.height = height
        self.width = width
        self.device = device
        self.source = source
        self.num_rows = source.num_rows
        self.cameras = source.cameras
        self._lane = _lane_on(device) if device.type == "cuda" else None
        self._has_warned = False

    def read(self, rows: np.ndarray) -> Tensor:
        """Return the pixels of rows, in their order and with repeats: (B, H, W, 3) uint8.

        On a GPU they are complete when this returns, for use on the calling thread's current
        stream: in a thread that never chose one, the stream of training.

        Raises:
            DataError: an image cannot be decoded; the message says where it is.
        """
        if not len(rows):
            return torch.empty((0, self.height, self.width, 3), dtype=torch.uint8).to(self.device)
        jpegs = self.source.jpegs(rows)
        if self._lane is None:
            return self._decoded(jpegs, rows)
        # A thread that never chose a GPU has the first; returning to a stream of that one would
        # make it spend memory on this process.
        with self._lane.turn, torch.cuda.device(self.device), torch.cuda.stream(self._lane.stream):
            try:
                images_BHWC = self._decoded(jpegs, rows)
            finally:
                self._lane.stream.synchronize()
        # The lane gets this memory back when the work queued with it is done.
        images_BHWC.record_stream(torch.cuda.current_stream(self.device))
        return images_BHWC

    def _decoded(self, jpegs: Sequence[Jpeg], rows: np.ndarray) -> Tensor:
        # torch wants memory that it might write to; shards are mapped for reading only.
        encoded = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
        try:
            decoded = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self.device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # does not say for which image
            decoded = self._one_by_one(encoded, rows, error=error)
        return torch.stack([self._resized(image_CHW) for image_CHW in decoded])

    def _one_by_one(
        self, encoded: list[Tensor], rows: np.ndarray, *, error: RuntimeError
    ) -> list[Tensor]:
        images: list[Tensor] = []
        num_refused = 0
        for jpeg, row in zip(encoded, rows.tolist(), strict=True):
            try:
                images += decode_jpeg([jpeg], mode=ImageReadMode.RGB, device=self.device)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as refusal:
                num_refused += 1
                images.append(self._decoded_on_cpu(jpeg, row))
                if not self._has_warned:
                    self._has_warned = True
                    log.warning(
                        "%s does not decode %s, which is decoded on the CPU, as others will be: %s",
                        self.device,
                        self.source.place(row),
                        refusal,
                    )
        if num_refused == len(images) and not _decodes_anything(self.device):
            raise DataError(
                f"{self.device} decodes no JPEG at all: {error}; set data.decode=cpu"
            ) from error
        return images

    def _decoded_on_cpu(self, jpeg: Tensor, row: int) -> Tensor:
        pixels_BHWC = decode_images(
            [jpeg.numpy().tobytes()],
            height=self.height,
            width=self.width,
            place=lambda _: self.source.place(row),
        )
        return pixels_BHWC[0].permute(2, 0, 1).to(self.device)

    def _resized(self, image_CHW: Tensor) -> Tensor:
        size = (self.height, self.width)
        if image_CHW.shape[1:] != size:
            image_CHW = (
                interpolate(
                    image_CHW[None].float(),
                    size=size,
                    mode="bilinear",
                    antialias=True,
                    align_corners=False,
                )[0]
                .round_()
                .clamp_(0, 255)
                .byte()
            )
        return image_CHW.permute(1, 2, 0)


def _decodes_anything(device: torch.device) -> bool:
    jpeg = simplejpeg.encode_jpeg(np.full((64, 64, 3), 128, np.uint8))
    encoded = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
    try:
        decode_jpeg([encoded], mode=ImageReadMode.RGB, device=device)
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lane:
    """A stream whose memory nvJPEG may write to, and a lock for its use.

    nvJPEG works on a stream of its own and does not wait for the one that its output is allocated
    on. So that stream must have no pending work on memory freed on it: one read at a time uses it
    and synchronises at the end.
    """

    stream: torch.cuda.Stream
    turn: threading.Lock


@functools.cache
def _lane_on(device: torch.device) -> _Lane:
    return _Lane(stream=torch.cuda.Stream(device), turn=threading.Lock())
