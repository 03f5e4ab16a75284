"""JPEGs to pixels on a device: on a GPU decoded there, by nvJPEG.

Shapes: B = images asked for, H = height, W = width; RGB, channels last.
"""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg

from daam.data.decode import ImageSource, Jpeg, decode_images
from daam.errors import DataError


class DevicePixels:
    """Pixels by row, decoded by torchvision on a device; any number of threads may read at once.

    On a CPU they are those of `PixelReader` to the bit at the stored size; nvJPEG's differ by a few
    levels, as it rounds and upsamples colour in its own way. None are kept.
    """

    def __init__(
        self, source: ImageSource, *, height: int, width: int, device: torch.device
    ) -> None:
        self.height = height
        self.width = width
        self.device = device
        self.source = source

    @property
    def num_rows(self) -> int:
        return self.source.num_rows

    @property
    def cameras(self) -> np.ndarray:
        return self.source.cameras

    def read(self, rows: np.ndarray) -> Tensor:
        """Return the pixels of rows, in their order and with repeats: (B, H, W, 3) uint8.

        On a GPU they are complete when this returns, and for use on its stream that is current in
        the calling thread: in a thread that never chose one, the one that training computes on.

        Raises:
            DataError: an image cannot be decoded; the message says where it is.
        """
        if not len(rows):
            return torch.empty((0, self.height, self.width, 3), dtype=torch.uint8).to(self.device)
        jpegs = self.source.jpegs(rows)
        if self.device.type != "cuda":
            return self._decoded(jpegs, rows)
        lane = _lane_on(self.device)
        with lane.turn, torch.cuda.stream(lane.stream):
            try:
                images_BHWC = self._decoded(jpegs, rows)
            finally:
                lane.stream.synchronize()
        # The lane gets this memory back when the work that was queued with it is done.
        images_BHWC.record_stream(torch.cuda.current_stream(self.device))
        return images_BHWC

    def _decoded(self, jpegs: Sequence[Jpeg], rows: np.ndarray) -> Tensor:
        # torch wants memory that it might write to; shards are mapped for reading only.
        encoded = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
        try:
            decoded = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self.device)
        except RuntimeError as error:
            raise self._named(error, jpegs, rows) from error
        return torch.stack([self._resized(image_CHW) for image_CHW in decoded])

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

    def _named(self, error: RuntimeError, jpegs: Sequence[Jpeg], rows: np.ndarray) -> DataError:
        """A batch's error does not tell which image it is: decode them again on the CPU."""
        places = [self.source.place(row) for row in rows.tolist()]
        try:
            decode_images(jpegs, height=self.height, width=self.width, place=places.__getitem__)
        except DataError as named:
            return named
        return DataError(
            f"{self.device} can't decode an image that the CPU can ({error}; one of {places}); "
            "set data.decode=cpu"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lane:
    """A stream whose memory nvJPEG may write to, and whose turn it is on it.

    nvJPEG works on a stream of its own and does not wait for the one that its output is allocated
    on. So that one must have nothing left to do with memory that was freed on it: one read at a
    time uses it, and waits for its end.
    """

    stream: torch.cuda.Stream
    turn: threading.Lock


@functools.cache
def _lane_on(device: torch.device) -> _Lane:
    return _Lane(stream=torch.cuda.Stream(device), turn=threading.Lock())
