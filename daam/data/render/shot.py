"""One image: a person at a spot of a camera's place, cut out and seen through its sensor."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from daam.data.render.figure import OVERSAMPLING, Figure, draw_figure
from daam.data.render.kinds import Prop
from daam.data.render.people import Person, draw_person
from daam.data.render.plates import (
    PLATE_HEIGHT,
    PLATE_WIDTH,
    PLATES_PER_CAMERA,
    Plate,
    from_levels,
    plate_of,
)
from daam.data.render.pose import Pose, draw_arms, strike_pose
from daam.data.render.props import Frame, draw_prop
from daam.data.render.raster import Projection
from daam.data.render.sensor import expose, native_shape
from daam.data.render.settings import DomainLook
from daam.data.render.streams import choose

OCCLUDERS = ((Prop.BIN, 2.0), (Prop.BENCH, 2.0), (Prop.BIKE, 2.0), (Prop.LAMP, 2.0))
SOMEBODY = 0.4
"""Share of the occlusions that are another person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a detector's box lies around the person, in shares of the body's height."""

    centre: float = 0.0
    """Of the box, sideways from the person's middle."""
    top: float = 0.05
    """Above the head; negative cuts it off."""
    bottom: float = 0.05
    """Below the feet; negative cuts them off."""


def take_shot(
    look: DomainLook,
    *,
    person: Person | None,
    camera: int,
    framing: Framing,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """An image (height, width, 3) uint8 of one person, or of the place alone, by one camera."""
    plate = plate_of(look, camera=camera, number=int(rng.integers(PLATES_PER_CAMERA)))
    view = plate.camera
    away = rng.uniform(view.near_m, view.far_m)
    reach = (0.5 * PLATE_WIDTH / view.focal_px) * away - 0.7
    right = rng.uniform(-reach, reach)
    tall = person.height_m if person is not None else 1.7
    shape = native_shape((height, width), camera=view, away_m=away, blur=look.blur, rng=rng)
    spot = _Spot.around(
        plate,
        away=away,
        right=right,
        tall=tall,
        framing=framing,
        look=look,
        shape=shape,
        rng=rng,
    )

    scene = spot.background()
    if rng.random() < look.crowd_share:
        behind = away + rng.uniform(1.0, 4.0)
        aside = right * behind / away + rng.choice((-1, 1)) * rng.uniform(0.25, 0.9)
        _add_person(
            scene, _extra(look, rng=rng), spot=spot, right=aside, away=behind, look=look, rng=rng
        )
    if person is not None:
        _add_person(scene, person, spot=spot, right=right, away=away, look=look, rng=rng)
    if rng.random() < look.occlusion_share:
        _occlude(scene, spot=spot, right=right, away=away, look=look, rng=rng)
    picture = expose(scene, camera=view, away_m=away, blur=look.blur, rng=rng)
    if shape != (height, width):
        enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        picture = np.asarray(enlarged)
    return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """A crop of a plate, and where on the ground its person stands."""

    plate: Plate
    left: float
    top: float
    box_width: float
    box_height: float
    """In plate pixels from the optical axis."""
    shape: tuple[int, int]

    @classmethod
    def around(
        cls,
        plate: Plate,
        *,
        away: float,
        right: float,
        tall: float,
        framing: Framing,
        look: DomainLook,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> "_Spot":
        whole = Projection(
            camera=plate.camera, right_m=right, away_m=away, left_px=0, top_px=0, zoom_x=1, zoom_y=1
        )
        x, y, _ = whole.plate(np.array([(0.0, 0.0, 0.0), (0.0, tall, 0.0)]))
        body = float(y[0] - y[1])
        jitter = rng.normal(0, look.crop_jitter, 3) * body
        top = float(y[1]) - framing.top * body + jitter[0]
        low = float(y[0]) + framing.bottom * body + jitter[1]
        high = max(low - top, 0.25 * body)
        wide = high * shape[1] / shape[0] * math.exp(rng.normal(0, 0.07))
        middle = float(x.mean()) + framing.centre * body + 0.6 * jitter[2]
        return cls(
            plate=plate,
            left=middle - wide / 2,
            top=top,
            box_width=wide,
            box_height=high,
            shape=shape,
        )

    def projection(self, *, right: float, away: float) -> Projection:
        """Of a person anywhere in the place, to the raster of this crop."""
        return Projection(
            camera=self.plate.camera,
            right_m=right,
            away_m=away,
            left_px=self.left,
            top_px=self.top,
            zoom_x=self.shape[1] * OVERSAMPLING / self.box_width,
            zoom_y=self.shape[0] * OVERSAMPLING / self.box_height,
        )

    def background(self) -> np.ndarray:
        """The place in linear light, (H, W, 3) float32; a box over the plate's edge is moved in."""
        wide, high = min(self.box_width, PLATE_WIDTH), min(self.box_height, PLATE_HEIGHT)
        left = min(max(self.left + PLATE_WIDTH / 2, 0.0), PLATE_WIDTH - wide)
        top = min(max(self.top + PLATE_HEIGHT / 2, 0.0), PLATE_HEIGHT - high)
        cut = self.plate.image.resize(
            (self.shape[1], self.shape[0]),
            Image.Resampling.BILINEAR,
            box=(left, top, left + wide, top + high),
        )
        return from_levels()[np.asarray(cut)]


def _add_person(
    scene: np.ndarray,
    person: Person,
    *,
    spot: _Spot,
    right: float,
    away: float,
    look: DomainLook,
    rng: np.random.Generator,
) -> None:
    """Lay a person and their shadow over the scene, in place."""
    view = spot.plate.camera
    against = rng.random() >= view.one_way
    turn = view.walking_direction + rng.normal(0, look.viewpoint_spread) + math.pi * against
    turn -= math.atan2(right, away)
    head_turn = float(rng.normal(0, 0.3))
    walking = 0.05 if rng.random() < 0.15 else float(rng.uniform(0.7, 1.1))
    pose = strike_pose(
        person,
        phase=rng.uniform(0, 2 * math.pi),
        walking=walking,
        arms=draw_arms(person, rng=rng),
        head_turn=0.02 * head_turn,
    )
    projection = spot.projection(right=right, away=away)
    figure = draw_figure(
        person, pose=pose, turn=turn, head_turn=head_turn, projection=projection, shape=spot.shape
    )
    _cast_shadow(scene, figure=figure, pose=pose, turn=turn, projection=projection)
    light = np.float32(math.exp(rng.normal(0, 0.1)))
    scene *= (1 - figure.cover)[..., None]
    scene += light * figure.colour


def _cast_shadow(
    scene: np.ndarray, *, figure: Figure, pose: Pose, turn: float, projection: Projection
) -> None:
    """Darken the ground under the feet and where the body stands in the sun's way, in place."""
    height, width = figure.cover.shape
    cosine, sine = math.cos(turn), math.sin(turn)
    feet = [
        ((a[0] + t[0]) / 2, (a[2] + t[2]) / 2) for a, t in zip(pose.ankles, pose.toes, strict=True)
    ]
    ground = np.array([(fx * cosine + fz * sine, 0.0, fx * sine - fz * cosine) for fx, fz in feet])
    xs, ys, distance = projection.crop(ground)
    per_m = projection.camera.focal_px * projection.zoom_x / OVERSAMPLING / float(distance[0])
    columns = np.arange(width, dtype=np.float32)
    lines = np.arange(height, dtype=np.float32)[:, None]
    light = np.ones((height, width), np.float32)
    for x, y in zip((xs / OVERSAMPLING).tolist(), (ys / OVERSAMPLING).tolist(), strict=True):
        near_x = np.exp(-(((columns - x) / (0.17 * per_m)) ** 2))
        near_y = np.exp(-(((lines - y) / (0.075 * per_m)) ** 2))
        light *= 1 - np.float32(0.62) * near_x * near_y

    right, up, near = projection.camera.sun_direction
    sun = projection.camera.sun * up
    share = sun / (sun + 0.8)
    pitch = math.sin(projection.camera.pitch)
    # A point h above the ground throws its shadow h * (across, down) away from the feet.
    across, down = -right / up, near / up * pitch
    if share > 0.15 and abs(down) > 0.05:
        foot_y = float(ys.mean()) / OVERSAMPLING
        mask = Image.fromarray((figure.cover * 255).astype(np.uint8))
        matrix = (
            1.0,
            -across / down,
            foot_y * across / down,
            0.0,
            -1.0 / down,
            foot_y + foot_y / down,
        )
        thrown = mask.transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        light *= 1 - np.asarray(thrown, np.float32) * np.float32(0.85 * share / 255)
    scene *= light[..., None]


def _occlude(
    scene: np.ndarray,
    *,
    spot: _Spot,
    right: float,
    away: float,
    look: DomainLook,
    rng: np.random.Generator,
) -> None:
    """Put something or somebody between the camera and the person, in place."""
    nearer = away - rng.uniform(0.5, 1.2)
    aside = right * nearer / away + rng.choice((-1, 1)) * rng.uniform(0.1, 0.45)
    if rng.random() < SOMEBODY:
        aside += math.copysign(0.12, aside - right * nearer / away)
        _add_person(
            scene, _extra(look, rng=rng), spot=spot, right=aside, away=nearer, look=look, rng=rng
        )
        return
    height, width = spot.shape
    overlay = Image.new("RGBA", (width * OVERSAMPLING, height * OVERSAMPLING))
    frame = Frame(left=spot.left, top=spot.top, zoom=height * OVERSAMPLING / spot.box_height)
    draw_prop(
        overlay,
        prop=choose(rng, OCCLUDERS),
        look=look,
        view=spot.plate.camera,
        frame=frame,
        right=aside,
        away=nearer,
        rng=rng,
    )
    small = np.asarray(overlay.resize((width, height), Image.Resampling.BOX))
    cover = (small[..., 3:] / np.float32(255)).astype(np.float32)
    scene *= 1 - cover
    scene += cover * from_levels()[small[..., :3]]


def _extra(look: DomainLook, *, rng: np.random.Generator) -> Person:
    """Somebody who is nobody's identity."""
    return draw_person(look, cast="extras", identity=int(rng.integers(400)))
