import colorsys

import numpy as np
import pytest
import torch

from daam.dataset.pixels.augmentation import (
    Augmentation,
    DrawnAugmentation,
    augment_batch,
    augment_each,
    augmentation_keys,
    draw_augmentation,
)
from daam.dataset.pixels.normalise import IMAGENET_MEAN, IMAGENET_STD, normalise
from daam.errors import ConfigError

EVERYTHING = Augmentation(flip=0.5, pad=3, erase=0.5, brightness=0.3, contrast=0.3, saturation=0.3)
FILL = [124, 116, 104]


def random_images(num_images: int = 24, *, height: int = 20, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num_images, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def keys_of(num_images: int, *, step: int = 0) -> np.ndarray:
    return augmentation_keys(np.arange(num_images), seed=0, epoch=0, step=step)


def augmented_by_hand(images: np.ndarray, drawn: DrawnAugmentation) -> np.ndarray:
    output = np.empty_like(images)
    num_images, height, width, _ = images.shape
    assert drawn.colours is None
    for i in range(num_images):
        flipped, down, right, top, bottom, left, end = drawn.places[i].tolist()
        for y in range(height):
            for x in range(width):
                from_y, from_x = y + down, x + right
                if flipped:
                    from_x = width - 1 - from_x
                erased = top <= y < bottom and left <= x < end
                inside = 0 <= from_y < height and 0 <= from_x < width
                output[i, y, x] = images[i, from_y, from_x] if inside and not erased else FILL
    return output


def one_by_one(images: torch.Tensor, drawn: DrawnAugmentation) -> torch.Tensor:
    output = images.clone()
    augment_each(output.numpy(), drawn)
    return output


def augmented(
    images: torch.Tensor, *, augmentation: Augmentation, keys: np.ndarray
) -> torch.Tensor:
    height, width = images.shape[1:3]
    return one_by_one(
        images, draw_augmentation(augmentation, keys=keys, height=height, width=width)
    )


def test_nothing_changes_without_augmentation():
    images = random_images()
    output = augmented(images, augmentation=Augmentation(), keys=keys_of(24))
    assert torch.equal(output, images)


@pytest.mark.parametrize("augment", [one_by_one, augment_batch])
@pytest.mark.parametrize("pad", [0, 3, 11])
def test_flip_crop_and_erasing_match_the_loop(augment, pad):
    images = random_images()
    augmentation = Augmentation(flip=0.5, pad=pad, erase=0.5)
    drawn = draw_augmentation(augmentation, keys=keys_of(24), height=20, width=12)
    expected = torch.from_numpy(augmented_by_hand(images.numpy(), drawn))
    assert torch.equal(augment(images, drawn), expected)


def test_both_ways_to_augment_give_the_same_pixels_with_colour_too():
    images = random_images()
    drawn = draw_augmentation(EVERYTHING, keys=keys_of(24), height=20, width=12)
    assert drawn.colours is not None
    assert torch.equal(one_by_one(images, drawn), augment_batch(images, drawn))


def test_a_part_of_what_was_drawn_augments_its_images_alike():
    images = random_images()
    drawn = draw_augmentation(EVERYTHING, keys=keys_of(24), height=20, width=12)
    part = slice(5, 14)
    expected = augment_batch(images, drawn)[part]
    assert torch.equal(augment_batch(images[part], drawn.part(part)), expected)


@pytest.mark.parametrize(
    ("jitter", "augmentation"),
    [
        ("brightness", Augmentation(brightness=0.2)),
        ("contrast", Augmentation(contrast=0.2)),
        ("saturation", Augmentation(saturation=0.2)),
    ],
)
def test_colour_jitter_scales_around_black_the_mean_grey_or_each_pixels_grey(jitter, augmentation):
    images = random_images(8) // 2 + 60  # far enough from 0 and 255 not to be cut
    output = augmented(images, augmentation=augmentation, keys=keys_of(8)).double()
    pixels = images.double()
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)).sum(-1, keepdim=True)
    pivot = {
        "brightness": torch.zeros_like(grey),
        "contrast": grey.mean((1, 2), keepdim=True).expand_as(grey),
        "saturation": grey,
    }[jitter]
    factors = []
    for i in range(8):
        away, moved = (pixels - pivot)[i].flatten(), (output - pivot)[i].flatten()
        factor = float((away @ moved) / (away @ away))
        assert (moved - factor * away).abs().max() < 0.75  # rounding, and what it does to the fit
        factors.append(factor)
    assert all(0.79 < factor < 1.21 for factor in factors)
    assert max(factors) - min(factors) > 0.1


def test_colour_jitter_stays_within_the_range_of_pixels():
    extremes = torch.tensor([0, 255], dtype=torch.uint8).repeat(16, 8, 4, 3)[..., :3].contiguous()
    extremes[:, ::2] = 255
    output = augmented(
        extremes,
        augmentation=Augmentation(brightness=1, contrast=1, saturation=1),
        keys=keys_of(16),
    )
    brighter = output.float().mean((1, 2, 3)) > extremes.float().mean((1, 2, 3)) + 5
    assert brighter.any()
    assert (output[brighter][:, ::2] == 255).all()


def test_saturation_keeps_the_hue():
    image = torch.tensor([180, 120, 60], dtype=torch.uint8).expand(6, 4, 4, 3).contiguous()
    output = augmented(image, augmentation=Augmentation(saturation=0.5), keys=keys_of(6))
    hue = colorsys.rgb_to_hsv(180, 120, 60)[0]
    for pixel in output[:, 0, 0].tolist():
        assert colorsys.rgb_to_hsv(*pixel)[0] == pytest.approx(hue, abs=0.01)


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_an_image_is_augmented_alike_whatever_else_is_in_the_batch(num_ranks):
    images, keys = random_images(), keys_of(24)
    together = augmented(images, augmentation=EVERYTHING, keys=keys)
    size = 24 // num_ranks
    for start in range(0, 24, size):
        part = slice(start, start + size)
        alone = augmented(images[part], augmentation=EVERYTHING, keys=keys[part])
        assert torch.equal(alone, together[part])


def test_keys_follow_the_row_and_not_its_place():
    rows = np.array([7, 3, 9])
    forward = augmentation_keys(rows, seed=1, epoch=2, step=3)
    backward = augmentation_keys(rows[::-1], seed=1, epoch=2, step=3)
    assert forward.tolist() == backward[::-1].tolist()


def test_a_repeated_row_gets_another_key_each_time():
    once = augmentation_keys(np.array([5, 2]), seed=0, epoch=0, step=0)
    thrice = augmentation_keys(np.array([5, 5, 2, 5]), seed=0, epoch=0, step=0)
    assert len(set(thrice.tolist())) == 4
    assert thrice[[0, 2]].tolist() == once.tolist()


def test_seed_epoch_and_step_each_change_the_keys():
    rows = np.arange(4)
    named = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    keys = [
        key
        for seed, epoch, step in named
        for key in augmentation_keys(rows, seed=seed, epoch=epoch, step=step).tolist()
    ]
    assert len(set(keys)) == 16


def test_draws_have_the_probabilities_and_ranges_asked_for():
    augmentation = Augmentation(flip=0.5, pad=10, erase=0.3)
    drawn = draw_augmentation(augmentation, keys=keys_of(20_000), height=256, width=128)
    flipped, down, right, top, bottom, left, end = drawn.places.numpy().T
    assert flipped.mean() == pytest.approx(0.5, abs=0.02)
    for shift in (down, right):
        assert shift.min() == -10
        assert shift.max() == 10
        assert np.bincount(shift + 10) / 20_000 == pytest.approx(1 / 21, abs=0.01)
    erased = bottom > top
    assert erased.mean() == pytest.approx(0.3, abs=0.02)
    share = ((bottom - top) * (end - left))[erased] / (256 * 128)
    assert share.min() == pytest.approx(0.02, abs=0.002)
    assert share.max() == pytest.approx(0.4, abs=0.01)
    assert bottom.max() <= 256
    assert end.max() <= 128
    assert top.min() == left.min() == 0


def test_certain_probabilities_are_certain():
    images = random_images()
    flipped = augmented(images, augmentation=Augmentation(flip=1), keys=keys_of(24))
    assert torch.equal(flipped, images.flip(2))
    drawn = draw_augmentation(Augmentation(erase=1), keys=keys_of(24), height=20, width=12)
    assert (drawn.places[:, 4] > drawn.places[:, 3]).all()


def test_the_input_is_not_changed():
    images = random_images()
    before = images.clone()
    augmented(images, augmentation=EVERYTHING, keys=keys_of(24))
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("setting", "value"), [("flip", 1.5), ("erase", -0.1), ("contrast", 2), ("pad", -1)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"augmentation {setting} is {value}"):
        Augmentation(**{setting: value})


def test_padding_as_large_as_the_image_is_refused():
    with pytest.raises(ConfigError, match="20x12 pixels"):
        augmented(random_images(), augmentation=Augmentation(pad=12), keys=keys_of(24))


def test_normalising_matches_the_loop():
    images = random_images(3)
    output = normalise(images)
    assert output.shape == (3, 3, 20, 12)
    assert output.dtype == torch.float32
    assert output.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        expected = (images[..., channel] / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        assert torch.allclose(output[:, channel], expected, atol=1e-6)


def test_an_image_is_normalised_the_same_in_any_batch():
    images = random_images(3)
    alone = torch.cat([normalise(image[None]) for image in images])
    assert torch.equal(alone, normalise(images))
    assert normalise(images[:0]).shape == (0, 3, 20, 12)


def test_what_was_normalised_stays_as_long_as_anything_refers_to_it():
    batches = [random_images(3).add(number) for number in range(4)]
    kept = [normalise(batch)[1:, 0] for batch in batches]
    again = [normalise(batch)[1:, 0] for batch in batches]
    assert all(map(torch.equal, kept, again))
    assert not torch.equal(kept[0], kept[1])


def test_the_fill_colour_normalises_to_nearly_nothing():
    filled = torch.tensor(FILL, dtype=torch.uint8).expand(1, 2, 2, 3)
    assert normalise(filled).abs().max() < 0.01
