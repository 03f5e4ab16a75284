"""Embeddings of a split against a pass image by image, and networks adapted to a domain."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import PixelReader
from daam.model.network import DaamNetwork
from daam.model.norm import reestimate_statistics
from daam.training.scoring.extract import NUM_NORM_IMAGES, adapted_to, embed_rows
from daam.training.setup.compute import Compute, choose_compute
from daam.training.setup.network import build_network
from tests.support.images_in_memory import make_images

NUM_ROWS = 23


@pytest.fixture
def network(config_of) -> DaamNetwork:
    torch.manual_seed(0)
    network = build_network(config_of(), num_identities=5)
    with torch.no_grad():
        for images in torch.rand(4, 8, 3, 32, 16, generator=torch.Generator().manual_seed(1)):
            network(images, num_source=8)  # statistics that are not those of the start
    return network


@pytest.fixture
def compute() -> Compute:
    return choose_compute(device="cpu", precision="float32", channels_last=True)


def reader_of(num_rows: int = NUM_ROWS, *, height: int = 32, width: int = 16) -> PixelReader:
    return PixelReader(make_images(num_rows), height=height, width=width)


def one_by_one(network: DaamNetwork, reader: PixelReader, *, flip: bool) -> torch.Tensor:
    """The embeddings of every row, each image alone."""
    network = network.eval()
    rows = []
    with torch.no_grad():
        for row in range(reader.num_rows):
            image = normalise(reader.read(np.array([row])))
            embedding = network.embed(image)[0]
            if flip:
                mirrored = network.embed(torch.flip(image, dims=[-1]))[0]
                embedding = (embedding + mirrored) / 2
                embedding = embedding / embedding.norm()
            rows.append(embedding)
    return torch.stack(rows)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, NUM_ROWS, 1000])
def test_embeddings_equal_a_pass_image_by_image(network, compute, flip, batch_size):
    found = embed_rows(
        network, reader_of(), batch_size=batch_size, flip=flip, compute=compute, num_threads=2
    )
    assert found.shape == (NUM_ROWS, 128)
    assert found.dtype == torch.float32
    expected = one_by_one(network, reader_of(), flip=flip)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(NUM_ROWS), rtol=0, atol=1e-6)
    # Rows that could be swapped unnoticed would prove nothing.
    assert (found @ found.T).fill_diagonal_(-1).max() < 1 - 1e-5


def test_an_image_and_its_mirror_embed_alike_with_flip(network, compute):
    images = make_images(4)
    straight = PixelReader(images, height=32, width=16)

    class Mirrored(PixelReader):
        def read(self, rows: np.ndarray) -> torch.Tensor:
            return super().read(rows).flip(2)

    mirrored = Mirrored(images, height=32, width=16)
    apart = [
        embed_rows(network, reader, batch_size=4, flip=False, compute=compute, num_threads=2)
        for reader in (straight, mirrored)
    ]
    together = [
        embed_rows(network, reader, batch_size=4, flip=True, compute=compute, num_threads=2)
        for reader in (straight, mirrored)
    ]
    assert not torch.allclose(apart[0], apart[1], atol=1e-4)
    torch.testing.assert_close(together[0], together[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_embedding_uses_statistics_and_changes_nothing(network, compute, training):
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = embed_rows(
        network, reader_of(), batch_size=8, flip=False, compute=compute, num_threads=2
    )
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    again = embed_rows(
        network, reader_of(), batch_size=8, flip=False, compute=compute, num_threads=2
    )
    assert torch.equal(first, again)


def test_no_thread_goes_on_decoding_after_a_pass_that_failed(network, compute, monkeypatch):
    def fail(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(network, "embed", fail)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        embed_rows(network, reader_of(), batch_size=2, flip=False, compute=compute, num_threads=2)
    assert set(threading.enumerate()) <= before
    # Until here it has kept the frames of the pass alive.
    del caught


def test_embeddings_can_be_learned_from_later(network, compute):
    found = embed_rows(
        network, reader_of(), batch_size=8, flip=False, compute=compute, num_threads=2
    )
    weight = torch.zeros(128, requires_grad=True)
    F.softplus(found[[1, 2]] @ weight).sum().backward()
    assert weight.grad is not None


def test_a_bfloat16_pass_gives_float32_embeddings_of_length_1(network, compute):
    rough = choose_compute(device="cpu", precision="bfloat16", channels_last=True)
    found = embed_rows(network, reader_of(), batch_size=8, flip=True, compute=rough, num_threads=2)
    exact = embed_rows(
        network, reader_of(), batch_size=8, flip=True, compute=compute, num_threads=2
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(NUM_ROWS), rtol=0, atol=1e-6)
    assert (found * exact).sum(dim=1).min() > 0.98


def norms_of(network: DaamNetwork) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if "running_" in name}


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1000, [23]), (23, [23]), (8, [12, 11]), (7, [8, 8, 7])]
)
def test_an_adapted_network_has_the_statistics_of_the_images_and_the_same_weights(
    network, compute, batch_size, sizes
):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    adapted = adapted_to(network, reader_of(), batch_size=batch_size, compute=compute)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    pixels = reader_of().read(np.arange(NUM_ROWS))
    reestimate_statistics(network, [normalise(part) for part in pixels.split(sizes)])
    for name, value in norms_of(network).items():
        torch.testing.assert_close(norms_of(adapted)[name], value, rtol=1e-4, atol=1e-5)
        assert not torch.equal(value, before[name])
    for (name, weight), (_, original) in zip(
        adapted.named_parameters(), network.named_parameters(), strict=True
    ):
        assert torch.equal(weight, original), name


def test_a_batch_of_one_is_enough_for_evaluation(network, compute):
    adapted = adapted_to(network, reader_of(5), batch_size=1, compute=compute)
    assert all(value.isfinite().all() for value in norms_of(adapted).values())


def test_a_large_split_is_sampled_evenly_from_end_to_end(network, compute):
    read: list[int] = []

    class Watched(PixelReader):
        def read(self, rows: np.ndarray) -> torch.Tensor:
            read.extend(rows.tolist())
            return super().read(rows)

    # Small images: how many are read is what counts here.
    num_rows = 2 * NUM_NORM_IMAGES + 100
    adapted_to(
        network,
        Watched(make_images(num_rows), height=16, width=8),
        batch_size=512,
        compute=compute,
    )
    assert len(read) == len(set(read)) == NUM_NORM_IMAGES
    assert (read[0], read[-1]) == (0, num_rows - 1)
    assert set(np.diff(read).tolist()) == {2, 3}
