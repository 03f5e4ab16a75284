"""Who and what is drawn: streams, people, cameras, and the picture itself."""

import math
from dataclasses import replace

import numpy as np
import pytest

from daam.synthetic import camera_look, domain_look
from daam.synthetic.camera.raster import FAR, Projection, rasterise
from daam.synthetic.named import DOMAINS
from daam.synthetic.person.limbs import Limbs, Part
from daam.synthetic.person.people import draw_person
from daam.synthetic.person.pose import Arm, strike_pose
from daam.synthetic.scene.spot import Framing
from daam.synthetic.shot import take_shot
from daam.synthetic.streams import choose, stream


def shoot(look, *, person, camera=1, number=0, framing=None):
    return take_shot(
        look,
        person=person,
        camera=camera,
        framing=framing or Framing(),
        height=64,
        width=32,
        rng=stream("test", number),
    )


def limb_table(*rows):
    """Round limbs from their start x, y, z, end x, y, z and the two radii."""
    limbs = Limbs(turn=math.pi)
    for row in rows:
        # Of a person who faces away, only x is mirrored in the view.
        start, end = (-row[0], row[1], row[2]), (-row[3], row[4], row[5])
        limbs.add(start, end, part=Part.SKIN, wide=row[6:8])
    return limbs.table()


def calm(look):
    """The same domain without anything that hides or shifts the person."""
    return replace(look, occlusion_share=0.0, crowd_share=0.0, crop_jitter=0.0, noise=0.0, blur=0.0)


def test_a_stream_is_its_name_and_nothing_else():
    assert stream("a", 1).random() == stream("a", 1).random()
    assert stream("a", 1).random() != stream("a", 2).random()
    assert stream("a", "bc").random() != stream("ab", "c").random()


def test_choose_draws_in_proportion_to_the_weights():
    rng = np.random.default_rng(0)
    drawn = [choose(rng, (("a", 3.0), ("b", 1.0), ("never", 0.0))) for _ in range(2000)]
    assert drawn.count("a") / 2000 == pytest.approx(0.75, abs=0.03)
    assert "never" not in drawn


def test_people_of_two_domains_and_of_two_casts_differ():
    for identity in range(5):
        plaza = draw_person(domain_look("plaza", seed=1), cast="people", identity=identity)
        campus = draw_person(domain_look("campus", seed=1), cast="people", identity=identity)
        extra = draw_person(domain_look("plaza", seed=1), cast="extras", identity=identity)
        assert len({plaza.height_m, campus.height_m, extra.height_m}) == 3


def test_look_alikes_share_clothes_and_differ_in_person():
    look = replace(domain_look("campus", seed=1), look_alike_share=1.0, colour_jitter=0.0)
    first, second, other = (draw_person(look, cast="people", identity=i) for i in (4, 5, 8))
    assert first.outfit == second.outfit
    assert first.height_m != second.height_m
    assert first.outfit != other.outfit


def test_nobody_shares_clothes_when_look_alikes_are_off():
    look = replace(domain_look("campus", seed=1), look_alike_share=0.0)
    outfits = [draw_person(look, cast="people", identity=i).outfit for i in range(40)]
    assert len(set(outfits)) == 40


def test_any_name_is_a_domain_and_its_seed_changes_it():
    drawn = domain_look("synthetic-7", seed=1)
    assert drawn == domain_look("synthetic-7", seed=1)
    assert drawn.top_palette != domain_look("synthetic-7", seed=2).top_palette
    assert drawn.top_palette != domain_look("synthetic-8", seed=1).top_palette


def test_cameras_without_strength_respond_alike_and_with_it_do_not():
    look = domain_look("station", seed=1)
    even = [camera_look(replace(look, camera_strength=0.0), camera=c) for c in (1, 2)]
    odd = [camera_look(look, camera=c) for c in (1, 2)]
    assert even[0].exposure == even[1].exposure
    np.testing.assert_allclose(even[0].colour_matrix, even[1].colour_matrix, atol=1e-6)
    assert odd[0].exposure != odd[1].exposure
    assert np.abs(odd[0].colour_matrix - odd[1].colour_matrix).max() > 0.02


@pytest.mark.parametrize("phase", np.linspace(0, 2 * math.pi, 7))
def test_a_walker_keeps_one_foot_on_the_ground_and_the_length_of_the_bones(phase):
    person = draw_person(domain_look("plaza", seed=1), cast="people", identity=1)
    pose = strike_pose(person, phase=phase, walking=1.0, arms=(Arm.SWING, Arm.PHONE), head_turn=0.0)
    assert min(ankle[1] for ankle in pose.ankles) == pytest.approx(0.075 * pose.scale)
    for hip, knee in zip(pose.hips, pose.knees, strict=True):
        thigh = 0.475 * 0.515 * person.height_m * person.leg_share
        assert math.dist(hip, knee) == pytest.approx(thigh)
    top = pose.head[1] + 0.123 * pose.scale
    assert top == pytest.approx(person.height_m, rel=0.06)


def test_a_round_limb_covers_the_pixels_within_its_radius():
    camera = replace(camera_look(domain_look("plaza", seed=1), camera=1), pitch=0.0, height_m=1.0)
    projection = Projection(camera=camera, right_m=0, away_m=10, left_px=-20, top_px=-30)
    row = [(-0.1, 0.9, 0.0, 0.15, 1.2, 0.0, 0.1, 0.06)]
    surface = rasterise(limb_table(*row), projection=projection, shape=(60, 40))
    scale = camera.focal_px / 10
    (ax, ay), (bx, by) = (
        (-0.1 * scale + 20, 0.1 * scale + 30),
        (0.15 * scale + 20, -0.2 * scale + 30),
    )
    expected = np.zeros((60, 40), bool)
    for y in range(60):
        for x in range(40):
            px, py = x + 0.5 - ax, y + 0.5 - ay
            length2 = (bx - ax) ** 2 + (by - ay) ** 2
            t = min(1.0, max(0.0, (px * (bx - ax) + py * (by - ay)) / length2))
            away = math.hypot(px - t * (bx - ax), py - t * (by - ay))
            expected[y, x] = away < scale * (0.1 + t * (0.06 - 0.1))
    covered = surface.depth < FAR
    assert (covered != expected).sum() <= 2
    np.testing.assert_allclose(np.linalg.norm(surface.normal, axis=0), 1.0, atol=1e-3)


def test_the_nearer_limb_is_in_front_whichever_comes_first():
    camera = replace(camera_look(domain_look("plaza", seed=1), camera=1), pitch=0.0, height_m=1.0)
    projection = Projection(camera=camera, right_m=0, away_m=10, left_px=-20, top_px=-30)
    near = (-0.1, 1.0, -0.5, 0.1, 1.0, -0.5, 0.1, 0.1)
    far = (-0.1, 1.0, 0.5, 0.1, 1.0, 0.5, 0.12, 0.12)
    for rows, index in (((near, far), 0), ((far, near), 1)):
        surface = rasterise(limb_table(*rows), projection=projection, shape=(60, 40))
        middle = surface.pixels == 30 * 40 + 20
        assert surface.limb[middle].tolist() == [index]


def test_nothing_in_the_crop_is_an_empty_surface():
    camera = camera_look(domain_look("plaza", seed=1), camera=1)
    projection = Projection(camera=camera, right_m=0, away_m=10, left_px=5000)
    row = (0.0, 1.0, 0.0, 0.0, 1.5, 0.0, 0.1, 0.1)
    surface = rasterise(limb_table(row), projection=projection, shape=(60, 40))
    assert len(surface.pixels) == 0


@pytest.mark.parametrize("name", [*DOMAINS, "synthetic-1"])
def test_a_person_stands_out_from_the_same_shot_without_them(name):
    look = calm(domain_look(name, seed=1))
    person = draw_person(look, cast="people", identity=1)
    with_person = shoot(look, person=person).astype(float)
    other = draw_person(look, cast="people", identity=2)
    assert with_person.shape == (64, 32, 3)
    assert with_person.std() > 15
    assert np.abs(with_person - shoot(look, person=other)).mean() > 3


def test_noise_and_weather_leave_levels_in_range_when_every_parameter_is_at_its_worst():
    look = replace(
        domain_look("station", seed=1),
        camera_strength=3.0,
        gap_strength=3.0,
        occlusion_share=1.0,
        crowd_share=1.0,
        crop_jitter=0.3,
        blur=4.0,
        noise=4.0,
    )
    person = draw_person(look, cast="people", identity=1)
    for number in range(6):
        image = shoot(look, person=person, camera=1 + number % 3, number=number)
        assert image.dtype == np.uint8
        assert image.shape == (64, 32, 3)


@pytest.mark.parametrize("identity", range(30))
def test_everybody_of_every_wardrobe_can_be_drawn(identity):
    name = (*DOMAINS, "synthetic-2")[identity % 4]
    look = domain_look(name, seed=7)
    person = draw_person(look, cast="people", identity=identity)
    assert shoot(look, person=person, number=identity).std() > 5
