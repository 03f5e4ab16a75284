"""Which rows make up a batch: pure functions of labels, seed, epoch and step.

A sampler makes global batches, the same on every rank; `rank_slice` cuts a rank's part out of one.
So a run sees the same data on 1, 2 or 4 ranks, and one that resumes at step 137 goes on with batch
137 of its epoch.

Shapes: N = rows of the data set, P = identities in a batch, K = images of each, B = rows in a
global batch, M = images that the data set has of the P identities together.
"""

from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from daam.dataset.draws import draw_uniform
from daam.errors import ConfigError, DataError

_CAMERA_TURN, _IMAGE_ORDER = range(2)  # what a draw decides


class BatchSampler(Protocol):
    """Global batches of rows, one for each step, without end."""

    @property
    def batch_size(self) -> int:
        """Rows in a global batch."""
        ...

    @property
    def block_size(self) -> int:
        """Consecutive rows that belong together and must stay on one rank."""
        ...

    def batch(self, step: int) -> np.ndarray:
        """The rows of a step of the epoch (from 0): (B,) int64."""
        ...

    def shards(self, step: int) -> tuple[int, ...] | None:
        """The shards that the batches of a step and the next ones are drawn from; None: all."""
        ...


class RowsByIdentity:
    """The rows of each identity. Sorting takes time: share one as long as the labels stay the same.

    It holds 4 bytes per labelled row and 8 per identity (twice that from 2 billion rows on), and a
    reference to `cameras`.

    Attributes:
        num_identities: how many different ones the labelled rows have.
        num_labelled: rows that have one.
        num_rows: N.
    """

    def __init__(self, identities: np.ndarray, cameras: np.ndarray | None) -> None:
        """Sort the rows by identity.

        Args:
            identities: (N,) integers; rows with a negative one (junk, outliers) are left out.
            cameras: (N,) integers; None: unknown.

        Raises:
            DataError: the arrays don't match.
        """
        expected = identities.shape if cameras is None else cameras.shape
        if identities.ndim != 1 or identities.shape != expected:
            raise DataError(
                f"identities of shape {identities.shape} and cameras of shape {expected} "
                "don't describe the same rows; give one of each for every row"
            )
        labelled = np.flatnonzero(identities >= 0)
        numbers = identities[labelled]
        if len(numbers) and numbers.max() > 4 * len(numbers):  # too many gaps to count through
            numbers = np.unique(numbers, return_inverse=True)[1]
        # SciPy groups the entries of a sparse matrix by counting: 8 times as fast as sorting.
        num_rows, num_numbers = len(identities), int(numbers.max(initial=-1)) + 1
        index = np.int32 if num_rows < 2**31 else np.int64
        marks = np.ones(len(labelled), dtype=np.bool_)
        places = numbers.astype(index), labelled.astype(index)
        matrix = csr_array((marks, places), shape=(num_numbers, num_rows))
        num_images = np.diff(matrix.indptr)
        self._first = matrix.indptr[:-1][num_images > 0]
        self._num_images = num_images[num_images > 0]
        self._rows = matrix.indices
        self._cameras = cameras
        self.num_rows = num_rows
        self.num_labelled = len(self._rows)
        self.num_identities = len(self._first)

    def of(self, chosen_P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows of some identities (counted from 0), one identity after the other.

        Returns:
            rows (M,) int64, their cameras (M,) (all 0 where they are unknown: then none is to be
            preferred), and how many are each identity's (P,) int64.
        """
        count_P = self._num_images[chosen_P].astype(np.int64)
        end_P = np.cumsum(count_P)
        shift_P = self._first[chosen_P] - (end_P - count_P)
        row_M = self._rows[np.arange(end_P[-1]) + np.repeat(shift_P, count_P)].astype(np.int64)
        camera_M = np.zeros_like(row_M) if self._cameras is None else self._cameras[row_M]
        return row_M, camera_M, count_P


class IdentityBatches:
    """Identity-balanced batches: exactly P identities with K images each, side by side.

    Each pass goes through all identities in a new random order, so every identity is drawn before
    one is repeated, and none is twice in a batch (a pass's last batch is filled with the identities
    that came first in it). Images of an identity are from as many cameras as possible, or drawn
    uniformly where cameras are unknown; one with fewer than K images repeats them, as evenly as
    possible.
    """

    def __init__(
        self,
        rows: RowsByIdentity,
        *,
        identities_per_batch: int,
        images_per_identity: int,
        seed: int,
        epoch: int,
    ) -> None:
        """Choose the epoch's random order.

        Args:
            rows: of the data set, by identity.
            identities_per_batch: P.
            images_per_identity: K.
            seed: with `epoch`, which random order; neither may be negative.
            epoch: with `seed`, which random order.

        Raises:
            DataError: there are fewer than P identities.
        """
        if rows.num_identities < identities_per_batch:
            raise DataError(
                f"{rows.num_identities} identities (in {rows.num_labelled} labelled rows of "
                f"{rows.num_rows}) are too few for {identities_per_batch} in a batch; "
                "lower the number of identities in a batch or give more data"
            )
        self._passes = _Passes(
            rows.num_identities, per_batch=identities_per_batch, seed=seed, epoch=epoch
        )
        self.batch_size = identities_per_batch * images_per_identity
        self.block_size = images_per_identity
        self._rows = rows
        self._seed = seed
        self._epoch = epoch

    def batch(self, step: int) -> np.ndarray:
        row_M, camera_M, count_P = self._rows.of(self._passes.batch(step))
        begin_P = np.cumsum(count_P) - count_P
        slot_M = np.repeat(np.arange(len(count_P)), count_P)

        # An image's turn is its place in a random order of its camera's images. Turn 0 of all
        # cameras, then turn 1, and so on, spreads an identity over its cameras.
        draw_M = draw_uniform(self._seed, self._epoch, step, row_M, _CAMERA_TURN)
        by_view_M = np.lexsort((draw_M, camera_M, slot_M))
        begins_M = _changes(slot_M[by_view_M]) | _changes(camera_M[by_view_M])
        index_M = np.arange(len(row_M))
        turn_M = np.empty_like(index_M)
        turn_M[by_view_M] = index_M - np.maximum.accumulate(np.where(begins_M, index_M, 0))

        tie_M = draw_uniform(self._seed, self._epoch, step, row_M, _IMAGE_ORDER)
        preferred_M = np.lexsort((tie_M, turn_M, slot_M))
        pick_PK = np.arange(self.block_size) % count_P[:, None]
        return row_M[preferred_M[begin_P[:, None] + pick_PK]].ravel()

    def shards(self, step: int) -> None:
        return None


class ShuffledBatches:
    """Uniform batches of all rows, for a domain without labels.

    Each pass goes through all rows in a new random order; its last batch is filled with the rows
    that came first in it. A batch repeats rows only if it is larger than the data set.
    """

    def __init__(self, num_rows: int, *, batch_size: int, seed: int, epoch: int) -> None:
        """Choose the epoch's random order; neither `seed` nor `epoch` may be negative.

        Raises:
            DataError: there are no rows.
        """
        if num_rows == 0:
            raise DataError("a split without images makes no batches; import images into it")
        self._passes = _Passes(num_rows, per_batch=batch_size, seed=seed, epoch=epoch)
        self.batch_size = batch_size
        self.block_size = 1

    def batch(self, step: int) -> np.ndarray:
        return self._passes.batch(step)

    def shards(self, step: int) -> None:
        return None


def rank_slice(rows: np.ndarray, *, rank: int, num_ranks: int, block_size: int = 1) -> np.ndarray:
    """Return a rank's contiguous part of a global batch, as a view.

    Args:
        rows: (B,) or (B, ...), a global batch.
        rank: from 0 to `num_ranks` - 1.
        num_ranks: ranks that share the batch.
        block_size: consecutive rows that stay on one rank, such as the images of an identity.

    Raises:
        ConfigError: the blocks can't be divided evenly among the ranks.
    """
    if not 0 <= rank < num_ranks:
        raise ConfigError(f"rank {rank} is not one of {num_ranks} ranks; count from 0")
    if len(rows) % (num_ranks * block_size):
        raise ConfigError(
            f"a batch of {len(rows)} rows in blocks of {block_size} can't be shared evenly by "
            f"{num_ranks} ranks; choose a multiple of {num_ranks * block_size} rows"
        )
    share = len(rows) // num_ranks
    return rows[rank * share : (rank + 1) * share]


class _Passes:
    """Endless random passes over items, each cut into batches that never span two passes."""

    def __init__(self, num_items: int, *, per_batch: int, seed: int, epoch: int) -> None:
        self._per_batch = per_batch
        self._num_items = num_items
        self._steps_per_pass = -(-num_items // per_batch)
        self._seed = seed
        self._epoch = epoch
        self._last: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def batch(self, step: int) -> np.ndarray:
        pass_index, step_of_pass = divmod(step, self._steps_per_pass)
        places = np.arange(self._per_batch) + step_of_pass * self._per_batch
        places %= self._num_items
        return self._shuffled(pass_index)[places]

    def _shuffled(self, pass_index: int) -> np.ndarray:
        # Threads may share one tuple that is read once and replaced as a whole.
        known_index, order = self._last
        if known_index != pass_index:
            generator = np.random.default_rng((self._seed, self._epoch, pass_index))
            order = generator.permutation(self._num_items)
            self._last = (pass_index, order)
        return order


def _changes(values: np.ndarray) -> np.ndarray:
    """Where a run of equal values begins."""
    begins = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    return begins
