"""One image: a person in a place, among other people and things, through a sensor."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from daam.synthetic.camera.figure import OVERSAMPLING, Figure, draw_figure
from daam.synthetic.camera.sensor import expose
from daam.synthetic.kinds import Prop
from daam.synthetic.person.people import Person, draw_person
from daam.synthetic.person.stance import Stance
from daam.synthetic.scene.plates import PLATE_WIDTH, PLATES_PER_CAMERA, from_levels, plate_of
from daam.synthetic.scene.props import draw_prop
from daam.synthetic.scene.spot import Framing, Spot
from daam.synthetic.settings import DomainLook
from daam.synthetic.streams import choose

OCCLUDERS = ((Prop.BIN, 2.0), (Prop.BENCH, 2.0), (Prop.BIKE, 2.0), (Prop.LAMP, 2.0))
PERSON_SHARE = 0.4
"""Share of the occlusions that are another person."""


def take_shot(
    look: DomainLook,
    *,
    person: Person,
    camera: int,
    framing: Framing,
    height: int,
    width: int,
    rng: np.random.Generator,
    absent: bool = False,
) -> np.ndarray:
    """An image (height, width, 3) uint8 of one person by one camera.

    Args:
        absent: leave the person out, as in a detector's false positive.
    """
    plate = plate_of(look, camera=camera, number=int(rng.integers(PLATES_PER_CAMERA)))
    view = plate.camera
    away = rng.uniform(view.near_m, view.far_m)
    reach = 0.5 * PLATE_WIDTH / view.focal_px * away - 0.7
    right = rng.uniform(-reach, reach)
    stance = Stance.draw(person, right_m=right, away_m=away, view=view, look=look, rng=rng)
    spot = Spot.around(stance, plate=plate, framing=framing, height=height, look=look, rng=rng)

    scene = spot.background()
    if rng.random() < look.crowd_share:
        further = away + rng.uniform(1.0, 4.0)
        aside = rng.choice((-1, 1)) * rng.uniform(0.25, 0.9)
        _add_person(
            scene,
            _extra(stance, aside_m=aside, away_m=further, spot=spot, look=look, rng=rng),
            spot=spot,
            rng=rng,
        )
    if not absent:
        _add_person(scene, stance, spot=spot, rng=rng)
    if rng.random() < look.occlusion_share:
        _occlude(scene, stance=stance, spot=spot, look=look, rng=rng)
    picture = expose(scene, camera=view, away_m=away, blur=look.blur, rng=rng)
    if spot.shape != (height, width):
        enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        picture = np.asarray(enlarged)
    return picture


def _add_person(scene: np.ndarray, stance: Stance, *, spot: Spot, rng: np.random.Generator) -> None:
    """Lay a person and their shadow over the scene, in place."""
    figure = draw_figure(stance, projection=spot.projection(stance), shape=spot.shape)
    _cast_shadow(scene, figure=figure, stance=stance, spot=spot)
    light = np.float32(math.exp(rng.normal(0, 0.1)))
    scene *= (1 - figure.cover)[..., None]
    scene += light * figure.colour


def _cast_shadow(scene: np.ndarray, *, figure: Figure, stance: Stance, spot: Spot) -> None:
    """Darken the ground under the feet and where the body stands in the sun's way, in place."""
    height, width = figure.cover.shape
    pose, projection = stance.pose, spot.projection(stance)
    soles = [
        ((ankle[0] + toe[0]) / 2, 0.0, (ankle[2] + toe[2]) / 2)
        for ankle, toe in zip(pose.ankles, pose.toes, strict=True)
    ]
    x, y, distance = projection.crop(stance.seen(soles))
    feet = (np.stack([x, y], axis=1) / OVERSAMPLING).tolist()
    per_m = projection.camera.focal_px * projection.zoom_x / OVERSAMPLING / float(distance[0])
    columns = np.arange(width, dtype=np.float32)
    lines = np.arange(height, dtype=np.float32)[:, None]
    light = np.ones((height, width), np.float32)
    for foot_x, foot_y in feet:
        near_x = np.exp(-(((columns - foot_x) / (0.17 * per_m)) ** 2))
        near_y = np.exp(-(((lines - foot_y) / (0.075 * per_m)) ** 2))
        light *= 1 - np.float32(0.62) * near_x * near_y

    right, up, near = projection.camera.sun_direction
    sun = projection.camera.sun * up
    share = sun / (sun + 0.8)
    # A point h above the ground throws its shadow h * (across, down) away from the feet.
    across, down = -right / up, near / up * math.sin(projection.camera.pitch)
    if share > 0.15 and abs(down) > 0.05:
        ground_y = sum(foot_y for _, foot_y in feet) / len(feet)
        mask = Image.fromarray((figure.cover * 255).astype(np.uint8))
        matrix = (
            *(1.0, -across / down, ground_y * across / down),
            *(0.0, -1.0 / down, ground_y + ground_y / down),
        )
        thrown = mask.transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        light *= 1 - np.asarray(thrown, np.float32) * np.float32(0.85 * share / 255)
    scene *= light[..., None]


def _occlude(
    scene: np.ndarray, *, stance: Stance, spot: Spot, look: DomainLook, rng: np.random.Generator
) -> None:
    """Put a thing or another person between the camera and the person, in place."""
    nearer = stance.away_m - rng.uniform(0.5, 1.2)
    side = rng.choice((-1, 1))
    aside = rng.uniform(0.1, 0.45)
    if rng.random() < PERSON_SHARE:
        extra = _extra(
            stance, aside_m=side * (aside + 0.12), away_m=nearer, spot=spot, look=look, rng=rng
        )
        _add_person(scene, extra, spot=spot, rng=rng)
        return
    height, width = spot.shape
    projection = spot.projection(stance)
    overlay = Image.new("RGBA", (width * OVERSAMPLING, height * OVERSAMPLING))
    draw_prop(
        overlay,
        prop=choose(rng, OCCLUDERS),
        look=look,
        projection=replace(
            projection,
            right_m=stance.right_m * nearer / stance.away_m + side * aside,
            away_m=nearer,
            zoom_x=projection.zoom_y,  # things are not squeezed to whole columns
        ),
        rng=rng,
    )
    small = np.asarray(overlay.resize((width, height), Image.Resampling.BOX))
    cover = small[..., 3:] * np.float32(1 / 255)
    scene *= 1 - cover
    scene += cover * from_levels()[small[..., :3]]


def _extra(
    stance: Stance,
    *,
    aside_m: float,
    away_m: float,
    spot: Spot,
    look: DomainLook,
    rng: np.random.Generator,
) -> Stance:
    """A passer-by without an identity, beside the line of sight to a person."""
    return Stance.draw(
        draw_person(look, cast="extras", identity=int(rng.integers(400))),
        right_m=stance.right_m * away_m / stance.away_m + aside_m,
        away_m=away_m,
        view=spot.plate.camera,
        look=look,
        rng=rng,
    )
