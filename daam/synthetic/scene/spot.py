"""The detector's box around a person, and the background inside it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from daam.synthetic.camera.figure import OVERSAMPLING
from daam.synthetic.camera.raster import Projection
from daam.synthetic.camera.sensor import native_height
from daam.synthetic.person.stance import Stance
from daam.synthetic.scene.plates import PLATE_HEIGHT, PLATE_WIDTH, Plate, from_levels
from daam.synthetic.settings import DomainLook

NARROWEST, WIDEST = 0.40, 0.58
"""Width of a box over its height: what a detector that frames whole people gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a box lies around the person, in shares of the body's height."""

    centre: float = 0.0
    """Of the box, sideways from the person's middle."""
    top: float = 0.035
    """Above the head; negative cuts it off."""
    bottom: float = 0.035
    """Below the feet; negative cuts them off."""
    side: float = 0.03
    """Beside the widest pair of joints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A box of a plate, in pixels from the optical axis, and the pixels it is seen with."""

    plate: Plate
    left: float
    top: float
    width: float
    height: float
    shape: tuple[int, int]

    @classmethod
    def around(
        cls,
        stance: Stance,
        *,
        plate: Plate,
        framing: Framing,
        height: int,
        look: DomainLook,
        rng: np.random.Generator,
    ) -> "Spot":
        """The box of a detector; `height` is the most pixels its image may have."""
        whole = Projection(camera=plate.camera, right_m=stance.right_m, away_m=stance.away_m)
        pose = stance.pose
        x, _, _ = whole.plate(stance.seen([*pose.hands, *pose.toes, *pose.ankles, pose.head]))
        _, y, _ = whole.plate(np.array([(0.0, stance.person.height_m, 0.0), (0.0, 0.0, 0.0)]))
        body = float(y[1] - y[0])
        jitter = (rng.normal(0, look.crop_jitter, 4) * body).tolist()
        top = float(y[0]) - framing.top * body + jitter[0]
        high = max(float(y[1]) + framing.bottom * body + jitter[1] - top, 0.25 * body)
        wide = float(x.max() - x.min()) + 2 * framing.side * body + jitter[2]
        wide = min(max(wide, NARROWEST * high), WIDEST * high)
        middle = float(x.max() + x.min()) / 2 + framing.centre * body + 0.5 * jitter[3]
        tall = native_height(
            height, camera=plate.camera, away_m=stance.away_m, blur=look.blur, rng=rng
        )
        return cls(
            plate=plate,
            left=middle - wide / 2,
            top=top,
            width=wide,
            height=high,
            shape=(tall, max(8, round(tall * wide / high))),
        )

    def projection(self, stance: Stance) -> Projection:
        """Of anybody in the place, to the raster of this box."""
        return Projection(
            camera=self.plate.camera,
            right_m=stance.right_m,
            away_m=stance.away_m,
            left_px=self.left,
            top_px=self.top,
            zoom_x=self.shape[1] * OVERSAMPLING / self.width,
            zoom_y=self.shape[0] * OVERSAMPLING / self.height,
        )

    def background(self) -> np.ndarray:
        """The place in linear light, (H, W, 3) float32; a box over the plate's edge is moved in."""
        wide, high = min(self.width, PLATE_WIDTH), min(self.height, PLATE_HEIGHT)
        left = min(max(self.left + PLATE_WIDTH / 2, 0.0), PLATE_WIDTH - wide)
        top = min(max(self.top + PLATE_HEIGHT / 2, 0.0), PLATE_HEIGHT - high)
        cut = self.plate.image.resize(
            (self.shape[1], self.shape[0]),
            Image.Resampling.BILINEAR,
            box=(left, top, left + wide, top + high),
        )
        return from_levels()[np.asarray(cut)]
