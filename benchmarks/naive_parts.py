"""Parts of a training run as public re-identification code has them, in the place of daam's.

loader       torchvision's ImageFolder and transforms behind DataLoader workers
jaccard      dense k-reciprocal Jaccard distances, row by row in NumPy
evaluation   mAP from a sorted gallery, query by query
diagnostics  none: public code has no counterpart

Each part has the signature of what it replaces and gives the same result (the loader: other random
draws of the same augmentation). Shapes: N = images, B = images in a batch, D = embedding width.
"""

import hashlib
import os
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from daam.dataset.loader.batches import DomainBatch
from daam.dataset.pixels.augmentation import Augmentation
from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import Pixels
from daam.dataset.sampling.samplers import BatchSampler
from daam.domains import JUNK
from daam.metrics.labels import Labels
from daam.metrics.retrieval import RetrievalScores
from daam.pseudo_labels.grouping import OUTLIER, PseudoLabels

NUM_WORKERS = 1  # of each DataLoader: a trial has one core, and two loaders
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (124, 116, 104)

Rows = NDArray[np.int64]


class ImageFiles:
    """The images of each opened split as files, in the order of its rows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[int, Path] = {}
        self._loaders: dict[tuple[int, bool], tuple[list[list[int]], DataLoader[Any]]] = {}

    def write(self, *readers: Pixels) -> None:
        """Write the images of some splits, those that are not there yet."""
        for reader in readers:
            images = [bytes(jpeg) for jpeg in reader.source.jpegs(np.arange(reader.num_rows))]
            folder = self.root / hashlib.sha256(b"".join(images)).hexdigest()[:16] / "images"
            folder.mkdir(parents=True, exist_ok=True)
            for row, image in enumerate(images):
                path = folder / f"{row:07d}.jpg"
                if not path.exists():  # another trial may be writing it
                    partial = path.with_suffix(f".{os.getpid()}")
                    partial.write_bytes(image)
                    partial.rename(path)
            self._folders[id(reader)] = folder.parent

    def load(
        self, reader: Pixels, batches: Iterable[Rows], augmentation: Augmentation | None
    ) -> Iterator[Tensor]:
        """Load batches of rows of a split, by workers that live as long as this object."""
        key = (id(reader), augmentation is None)
        if key not in self._loaders:
            transform = transform_of(augmentation, height=reader.height, width=reader.width)
            sampled: list[list[int]] = []
            loader = DataLoader(
                ImageFolder(str(self._folders[id(reader)]), transform=transform),
                batch_sampler=sampled,
                num_workers=NUM_WORKERS,
                persistent_workers=True,
            )
            self._loaders[key] = sampled, loader
        sampled, loader = self._loaders[key]
        sampled[:] = [rows.tolist() for rows in batches]
        for images_BCHW, _ in loader:
            yield images_BCHW

    def training_batches(
        self,
        reader: Pixels,
        *,
        sampler: BatchSampler,
        steps: range,
        identities: NDArray[np.int64] | None,
        augmentation: Augmentation,
        **_: Any,
    ) -> Generator[DomainBatch, None, None]:
        """In the place of `daam.dataset.loader.batches.iterate_batches`."""
        batches = [sampler.batch(step) for step in steps]
        images = self.load(reader, batches, augmentation)
        for rows, images_BCHW in zip(batches, images, strict=True):
            own = None if identities is None else torch.from_numpy(identities[rows])
            yield DomainBatch(images=images_BCHW, identities=own, rows=torch.from_numpy(rows))

    def ordered_batches(
        self, reader: Pixels, *, batch_size: int, **_: Any
    ) -> Generator[tuple[Rows, Tensor], None, None]:
        """In the place of `daam.dataset.loader.ordered.ordered_batches`."""
        rows = np.arange(reader.num_rows)
        batches = np.split(rows, range(batch_size, len(rows), batch_size))
        yield from zip(batches, self.load(reader, batches, None), strict=True)


def transform_of(augmentation: Augmentation | None, *, height: int, width: int) -> Any:
    """The transforms of one image, as torchvision documents them."""
    size = (height, width)
    resize = transforms.Resize(size)  # bilinear, as ours
    to_float = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    if augmentation is None:
        return transforms.Compose([resize, *to_float])
    return transforms.Compose(
        [
            resize,
            transforms.RandomHorizontalFlip(augmentation.flip),
            transforms.Pad(augmentation.pad, fill=FILL),  # type: ignore[arg-type]
            transforms.RandomCrop(size),
            transforms.ColorJitter(
                augmentation.brightness, augmentation.contrast, augmentation.saturation
            ),
            *to_float,
            transforms.RandomErasing(augmentation.erase, scale=(0.02, 0.4), ratio=(0.3, 3.3)),
        ]
    )


def normalised(images: Tensor) -> Tensor:
    """In the place of `normalise`: DataLoader's workers have normalised their images."""
    return images if images.is_floating_point() else normalise(images)


def dense_pseudo_labels(
    embeddings: Tensor, *, k1: int, k2: int, eps: float, min_samples: int, tracks: object = None
) -> PseudoLabels:
    """In the place of `daam.pseudo_labels.grouping.pseudo_labels`, for images without tracks."""
    assert tracks is None
    distances = dense_jaccard(embeddings.numpy(), k1=k1, k2=k2)
    grouping = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    groups = grouping.fit_predict(distances).astype(np.int64)
    return PseudoLabels(
        groups=groups,
        num_groups=int(groups.max(initial=OUTLIER)) + 1,
        outlier_share=float(np.mean(groups == OUTLIER)),
    )


def dense_jaccard(embeddings: NDArray[np.float32], *, k1: int, k2: int) -> NDArray[np.float32]:
    """(N, N) distances, see `daam.pseudo_labels.jaccard.jaccard_distances` for the definition.

    The steps, and so the cost, are those of the code that SpCL, MMT and their successors share.
    """
    num_images = len(embeddings)
    similarities = embeddings @ embeddings.T
    ranking = torch.from_numpy(similarities).topk(min(max(k1, k2), num_images)).indices.numpy()

    def reciprocal(row: int, k: int) -> Rows:
        forward = ranking[row, :k]
        return forward[(ranking[forward, :k] == row).any(axis=1)]

    near = [reciprocal(row, k1) for row in range(num_images)]
    nearer = [reciprocal(row, round(k1 / 2) + 1) for row in range(num_images)]
    weights = np.zeros((num_images, num_images), np.float32)
    for row in range(num_images):
        expanded = near[row]
        for candidate in near[row]:
            if len(np.intersect1d(nearer[candidate], near[row])) > 2 / 3 * len(nearer[candidate]):
                expanded = np.append(expanded, nearer[candidate])
        expanded = np.unique(expanded)
        exponents = np.exp(-(2 - 2 * similarities[row, expanded]))
        weights[row, expanded] = exponents / exponents.sum()
    if k2 > 1:
        weights = np.stack([weights[ranking[row, :k2]].mean(axis=0) for row in range(num_images)])

    holders = [np.flatnonzero(weights[:, column]) for column in range(num_images)]
    distances = np.zeros((num_images, num_images), np.float32)
    for row in range(num_images):
        overlap = np.zeros(num_images, np.float32)
        for column in np.flatnonzero(weights[row]):
            others = holders[column]
            overlap[others] += np.minimum(weights[row, column], weights[others, column])
        distances[row] = 1 - overlap / (2 - overlap)
    return np.maximum(distances, 0)


def sorted_scores(
    query: Tensor, gallery: Tensor, *, query_labels: Labels, gallery_labels: Labels, **_: Any
) -> RetrievalScores:
    """In the place of `daam.metrics.retrieval.retrieval_scores_from_embeddings`.

    Only what a search reads is computed: mAP and rank-1.
    """
    assert query_labels.cameras is not None
    assert gallery_labels.cameras is not None
    ranking = np.argsort(1 - query.numpy() @ gallery.numpy().T, axis=1, kind="stable")
    found = []
    for order, identity, camera in zip(
        ranking, query_labels.identities, query_labels.cameras, strict=True
    ):
        identities = gallery_labels.identities[order]
        same_view = (identities == identity) & (gallery_labels.cameras[order] == camera)
        correct = (identities == identity)[~same_view & (identities != JUNK)]
        if correct.any():
            precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
            found.append((precision[correct].mean(), correct[0]))
    precisions, first = np.array(found, np.float64).T
    return RetrievalScores(
        mean_average_precision=precisions.mean(),
        map_trapezoid=float("nan"),
        mean_inp=float("nan"),
        cmc={1: first.mean()},
        num_queries=len(query),
        num_left_out=len(query) - len(found),
        average_precisions=precisions,
    )


def no_diagnostics(_: object) -> dict[str, float]:
    """In the place of `daam.training.scoring.inspection.inspect`."""
    return {}


PARTS = ("loader", "jaccard", "evaluation", "diagnostics")


@contextmanager
def naive(parts: Collection[str], files: ImageFiles) -> Iterator[None]:
    """Replace some of daam's parts in this process, within the block."""
    room = "daam.training"
    places: dict[str, dict[str, Any]] = {
        "loader": {
            f"{room}.batches.iterate_batches": files.training_batches,
            f"{room}.scoring.extract.ordered_batches": files.ordered_batches,
            f"{room}.scoring.extract.normalise": normalised,
            f"{room}.step.normalise": normalised,
        },
        "jaccard": {f"{room}.relabel.pseudo_labels": dense_pseudo_labels},
        "evaluation": {
            f"{room}.scoring.retrieval_test.retrieval_scores_from_embeddings": sorted_scores
        },
        "diagnostics": {f"{room}.loop.inspect": no_diagnostics},
    }
    with ExitStack() as stack:
        for part in parts:
            for name, own in places[part].items():
                stack.enter_context(patch(name, own))
        yield
