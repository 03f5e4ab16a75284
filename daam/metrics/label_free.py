"""Scores of an embedding that need no identities: how consistent is it with itself?

Shapes: N = images, D = embedding width, k = neighbours, T = rows of a tile. Embeddings are
L2-normalised; none of these holds an N x N matrix.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daam.neighbours import nearest_neighbours

TILE_ROWS = 1024
DENSITY_TEMPERATURE = 0.05


def neighbourhood_density(
    embeddings: Tensor, *, temperature: float = DENSITY_TEMPERATURE
) -> float | None:
    """Soft neighbourhood density, 0 to 1; None with fewer than three images.

    Source: Saito et al. 2021, arXiv:2108.10860: the mean entropy of the softmax over an image's
    similarities to all others. Ours is divided by its maximum log(N - 1), so that sets of different
    sizes compare. Near 0 each image has one clear neighbour, at 1 all others are equally near.

    Args:
        embeddings: (N, D).
        temperature: of the softmax.
    """
    num_images = len(embeddings)
    if num_images < 3:
        return None
    entropies = []
    for rows, similarity_TN in _tiles(embeddings, embeddings):
        similarity_TN[torch.arange(len(rows)), rows] = -torch.inf
        log_share_TN = (similarity_TN / temperature).log_softmax(dim=1)
        share_TN = log_share_TN.exp()
        entropies.append(-torch.where(share_TN > 0, share_TN * log_share_TN, 0).sum(dim=1))
    return float(torch.cat(entropies).double().mean() / np.log(num_images - 1))


def neighbour_overlap(first: Tensor, second: Tensor, *, k: int) -> float | None:
    """Share of its k nearest images that an image keeps in another embedding, 0 to 1.

    None with fewer than two images. The image itself does not count.

    Args:
        first: (N, D).
        second: (N, D'), the same images embedded otherwise: changed images, an earlier epoch.
        k: neighbours compared; at most N - 1.
    """
    if len(first) < 2:
        return None
    ours_Nk, theirs_Nk = (
        nearest_neighbours(embeddings, k=k + 1).rows_Nk[:, 1:] for embeddings in (first, second)
    )
    return float((ours_Nk[:, :, None] == theirs_Nk[:, None, :]).any(axis=2).mean())


def self_retrieval(embeddings: Tensor, changed: Tensor, *, rows: Tensor | None = None) -> float:
    """Share of changed images whose nearest original is their own, 0 to 1.

    Args:
        embeddings: (N, D), of the images.
        changed: (Q, D), of a changed version of some of them.
        rows: (Q,) which ones; None: all, in order.
    """
    found = [
        similarity_TN.argmax(dim=1) == (at if rows is None else rows[at])
        for at, similarity_TN in _tiles(changed, embeddings)
    ]
    return float(torch.cat(found).double().mean())


def mutual_across_cameras(
    embeddings: Tensor, cameras: NDArray[np.integer], *, k: int
) -> float | None:
    """Share of images that are among the k nearest of their nearest image of another camera.

    Both searches leave out the searching image's own camera. None with one camera.

    Args:
        embeddings: (N, D).
        cameras: (N,).
        k: neighbours, at most as many as there are images of other cameras.
    """
    nearest_Nk = nearest_across_cameras(embeddings, cameras, k=k)
    if nearest_Nk is None:
        return None
    back_Nk = nearest_Nk[nearest_Nk[:, 0]]
    return float((back_Nk == np.arange(len(cameras))[:, None]).any(axis=1).mean())


def nearest_across_cameras(
    embeddings: Tensor, cameras: NDArray[np.integer], *, k: int
) -> NDArray[np.int64] | None:
    """(N, k) the nearest images of other cameras, nearest first; None with one camera.

    Where fewer than k images are of other cameras, the columns beyond them are -1.
    """
    if len(np.unique(cameras)) < 2:
        return None
    of_camera = torch.from_numpy(np.ascontiguousarray(cameras)).to(embeddings.device)
    found = []
    for rows, similarity_TN in _tiles(embeddings, embeddings):
        similarity_TN[of_camera[rows][:, None] == of_camera[None, :]] = -torch.inf
        best_Tk, at_Tk = similarity_TN.topk(min(k, len(cameras)), dim=1)
        found.append(torch.where(best_Tk > -torch.inf, at_Tk, -1))
    return torch.cat(found).cpu().numpy()


def camera_share(embeddings: Tensor, cameras: NDArray[np.integer], *, k: int) -> float | None:
    """How much more than by chance the k nearest images are of the image's own camera, up to 1.

    0 is chance, 1 all of them. None with one camera. A person's images of one camera are near each
    other in a good embedding too, so compare this between runs on one domain only.

    Args:
        embeddings: (N, D).
        cameras: (N,).
        k: neighbours, the image itself not among them.
    """
    known, camera_of, counts = np.unique(cameras, return_inverse=True, return_counts=True)
    if len(known) < 2:
        return None
    nearest_Nk = nearest_neighbours(embeddings, k=k + 1).rows_Nk[:, 1:]
    same = float((camera_of[nearest_Nk] == camera_of[:, None]).mean())
    chance = float(((counts[camera_of] - 1) / (len(cameras) - 1)).mean())
    return (same - chance) / (1 - chance)


def group_agreement(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Adjusted Rand index of two groupings, outliers as groups of their own; 0 is chance, 1 equal.

    Source: Hubert and Arabie 1985.

    Args:
        first: (N,) the group of each image, -1 for an outlier.
        second: (N,) likewise, of the same images.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(_outliers_alone(first), _outliers_alone(second)))


def one_camera_share(groups: NDArray[np.integer], cameras: NDArray[np.integer]) -> float | None:
    """Share of groups of two and more images that one camera took alone; None without such groups.

    Near 1, groups are cameras, or people that one camera saw.

    Args:
        groups: (N,), -1 for an outlier.
        cameras: (N,).
    """
    members = [cameras[groups == group] for group in np.unique(groups[groups >= 0])]
    alone = [len(np.unique(of_group)) == 1 for of_group in members if len(of_group) > 1]
    return float(np.mean(alone)) if alone else None


def track_agreement(
    embeddings: Tensor, tracks: NDArray[np.integer], cameras: NDArray[np.integer], *, k: int
) -> float | None:
    """Share of its k nearest images of other cameras that an image has in common with its track.

    The images of a track show one person, so they should find the same images elsewhere. Each
    image is compared with the next one of its track. None without tracks of two images, or with one
    camera.

    Args:
        embeddings: (N, D).
        tracks: (N,), the same number for the images of a track.
        cameras: (N,).
        k: neighbours.
    """
    nearest_Nk = nearest_across_cameras(embeddings, cameras, k=k)
    order = np.argsort(tracks, kind="stable")
    first, second = order[:-1], order[1:]
    together = tracks[first] == tracks[second]
    if nearest_Nk is None or not together.any():
        return None
    ours_Pk, theirs_Pk = nearest_Nk[first[together]], nearest_Nk[second[together]]
    same_Pk = (ours_Pk[:, :, None] == theirs_Pk[:, None, :]).any(axis=2)
    return float(same_Pk[ours_Pk >= 0].mean())


def _outliers_alone(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    alone = groups.astype(np.int64)
    outliers = np.flatnonzero(alone < 0)
    alone[outliers] = alone.max(initial=-1) + 1 + np.arange(len(outliers))
    return alone


def _tiles(rows: Tensor, columns: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of some rows, and their similarities (T, N) to all columns, which may be changed."""
    for first in range(0, len(rows), TILE_ROWS):
        tile = rows[first : first + TILE_ROWS].float()
        yield (
            torch.arange(first, first + len(tile), device=rows.device),
            tile @ columns.float().T,
        )
