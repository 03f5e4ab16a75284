"""The colour baseline against a loop over pixels, and what it must and must not see."""

import colorsys

import numpy as np
import pytest
import torch

from daam.metrics.colour_histogram import NUM_COLOUR_BINS, colour_histogram


def random_images(num_images, *, height=20, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        256, (num_images, height, width, 3), dtype=torch.uint8, generator=generator
    )


def bin_by_hand(red, green, blue):
    """6 greys, then 12 hues (red amid the first) of 3 saturations of 4 values, of 5-bit levels."""
    hue, saturation, value = colorsys.rgb_to_hsv(
        *((level // 8 + 0.5) / 32 for level in (red, green, blue))
    )
    if saturation < 0.15 or value < 0.15:
        return int(value * 6)
    saturation_bin = int((saturation - 0.15) / 0.85 * 3)
    return (
        6 + ((int(hue * 12 + 0.5) % 12) * 3 + saturation_bin) * 4 + int((value - 0.15) / 0.85 * 4)
    )


def histogram_by_hand(image, stripes):
    height, width = image.shape[:2]
    shares = np.zeros((stripes, NUM_COLOUR_BINS))
    rows_of = [
        [row for row in range(height) if row * stripes // height == s] for s in range(stripes)
    ]
    for stripe, rows in enumerate(rows_of):
        for row in rows:
            for pixel in image[row].tolist():
                shares[stripe, bin_by_hand(*pixel)] += 1 / (len(rows) * width)
    root = np.sqrt(shares).ravel()
    return root / np.linalg.norm(root)


@pytest.mark.parametrize("stripes", [1, 3, 8])
def test_matches_the_loop_over_pixels(stripes):
    images = random_images(3)
    found = colour_histogram(images, stripes=stripes)
    assert found.shape == (3, stripes * NUM_COLOUR_BINS)
    assert found.dtype == torch.float32
    for embedding, image in zip(found, images, strict=True):
        np.testing.assert_allclose(embedding, histogram_by_hand(image, stripes), atol=1e-6)


def test_every_colour_has_a_bin():
    levels = torch.arange(0, 256, 5, dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels)[:, None, None]
    norms = colour_histogram(colours, stripes=1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(len(colours)))


def test_one_image_in_a_batch_is_embedded_as_it_is_alone():
    images = random_images(4)
    torch.testing.assert_close(colour_histogram(images)[2:3], colour_histogram(images[2:3]))


def test_a_mirrored_image_is_the_same_and_one_upside_down_is_not():
    image = random_images(1, height=16)
    image[:, :8, :, 0] = 255
    embedding = colour_histogram(image)
    torch.testing.assert_close(colour_histogram(image.flip(2)), embedding)
    assert float((colour_histogram(image.flip(1)) * embedding).sum()) < 0.9


def test_a_red_coat_is_nearer_to_another_red_coat_than_to_a_blue_one():
    red, other_red, blue = (
        torch.tensor(colour, dtype=torch.uint8).expand(1, 16, 8, 3)
        for colour in ([200, 30, 30], [205, 28, 35], [30, 30, 200])
    )
    embeddings = [colour_histogram(image) for image in (red, other_red, blue)]
    assert float((embeddings[0] * embeddings[1]).sum()) == pytest.approx(1)
    assert float((embeddings[0] * embeddings[2]).sum()) == pytest.approx(0)
