"""Data larger than the cache: a few shards at a time, the next ones fetched while these are used.

A pass goes through all shards in a random order, cut into windows of a few. Batches of the steps
that belong to a window are drawn from its rows alone, about as many as it has. Which window a step
has is a function of shards, seed and step: it does not depend on ranks or on where a run resumed.

Shapes: N = rows of the data set, W = rows of a window, B = rows in a global batch.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from daam.dataset.sampling.samplers import (
    BatchSampler,
    IdentityBatches,
    RowsByIdentity,
    ShuffledBatches,
)
from daam.errors import DataError

Batch = TypeVar("Batch")


@runtime_checkable
class ShardedImages(Protocol):
    """Images in shards that can be fetched ahead and let go.

    Attributes:
        fits_cache: whether all shards can be at hand at once; if not, only what was asked for is
            fetched.
    """

    fits_cache: bool

    @property
    def shards(self) -> tuple[range, ...]:
        """The rows of each shard, in order."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of all shards."""
        ...

    def prefetch(self, shard_numbers: Iterable[int], /) -> None: ...

    def release(self, shard_numbers: Iterable[int], /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The shards that a step's batch is drawn from.

    Attributes:
        number: windows before this one, over all passes.
        shards: numbers of its shards.
        step: steps before this one in the window.
    """

    number: int
    shards: tuple[int, ...]
    step: int


class ShardWindows:
    """The window of each step of a run.

    Attributes:
        windows_per_pass: with shards, batch size and seed all that decides which window a step has.
    """

    def __init__(
        self, shards: Sequence[range], *, shards_per_window: int, batch_size: int, seed: int
    ) -> None:
        """Lay out windows of at most `shards_per_window` shards.

        Args:
            shards: the rows of each shard.
            shards_per_window: at least 1; windows of a pass differ by one shard at most.
            batch_size: B; a pass has N / B steps, shared out by the windows' rows.
            seed: which random orders of the shards.

        Raises:
            DataError: there is no shard.
        """
        if not shards:
            raise DataError("a split without images makes no batches; import images into it")
        self.shards = tuple(shards)
        self._sizes = np.array([len(rows) for rows in shards])
        self.windows_per_pass = -(-len(shards) // max(1, shards_per_window))
        self._steps_per_pass = -(-int(self._sizes.sum()) // batch_size)
        self._seed = seed
        self._last: tuple[int, list[np.ndarray], np.ndarray] = (-1, [], np.empty(0))

    def at(self, step: int) -> Window:
        """The window of a step, counted from the beginning of the run."""
        number, step = divmod(step, self._steps_per_pass)
        windows, ends = self._pass(number)
        which = int(np.searchsorted(ends, step, side="right"))
        return Window(
            number=number * self.windows_per_pass + which,
            shards=tuple(windows[which].tolist()),
            step=step - (int(ends[which - 1]) if which else 0),
        )

    def shards_of(self, number: int) -> tuple[int, ...]:
        """The shards of a window, by its number."""
        pass_number, which = divmod(number, self.windows_per_pass)
        return tuple(self._pass(pass_number)[0][which].tolist())

    def _pass(self, number: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The windows' shards, and the step before which each window ends."""
        # One tuple, read once and replaced as a whole, is safe to share between threads.
        known, windows, ends = self._last
        if known != number:
            order = np.random.default_rng((self._seed, number)).permutation(len(self.shards))
            windows = np.array_split(order, self.windows_per_pass)
            rows = np.cumsum([self._sizes[window].sum() for window in windows])
            ends = self._steps_per_pass * rows // rows[-1]
            self._last = (number, windows, ends)
        return windows, ends


class WindowedBatches:
    """Batches of an epoch, each drawn from the rows of its window alone."""

    def __init__(
        self,
        windows: ShardWindows,
        sampler_of: Callable[[np.ndarray, int], BatchSampler],
        *,
        first_step: int,
        block_size: int = 1,
    ) -> None:
        """Look at the epoch's first window.

        Args:
            windows: of the run.
            sampler_of: makes the sampler of some rows, (W,) int64, and a window's number; it counts
                those rows from 0.
            first_step: steps of the run before the epoch.
            block_size: rows that stay on one rank, the same for the batches of all windows.

        Raises:
            DataError: as `sampler_of` does for the first window.
        """
        self._windows = windows
        self._sampler_of = sampler_of
        self._first_step = first_step
        self._last = self._enter(windows.at(first_step))
        self.batch_size = self._last[2].batch_size
        self.block_size = block_size

    def batch(self, step: int) -> np.ndarray:
        """The rows of a step of the epoch (from 0): (B,) int64."""
        window = self._windows.at(self._first_step + step)
        known, rows, sampler = self._last
        if known != window.number:
            self._last = _, rows, sampler = self._enter(window)
        return rows[sampler.batch(window.step)]

    def _enter(self, window: Window) -> tuple[int, np.ndarray, BatchSampler]:
        rows = np.concatenate([np.array(self._windows.shards[shard]) for shard in window.shards])
        return window.number, rows, self._sampler_of(rows, window.number)


def balanced_in_windows(
    identities: np.ndarray,
    cameras: np.ndarray,
    *,
    windows: ShardWindows,
    first_step: int,
    identities_per_batch: int,
    images_per_identity: int,
    seed: int,
    or_uniform: bool,
) -> WindowedBatches:
    """Identity-balanced batches, with the identities that the window has two images of.

    A single image makes no pair, so who has one in a window waits for another window; if the window
    has too few others for a batch, everybody in it is drawn.

    Args:
        identities: (N,) integers, negative ones are never drawn; may differ between epochs.
        cameras: (N,) integers.
        windows: of the run.
        first_step: steps of the run before this epoch.
        identities_per_batch: P.
        images_per_identity: K.
        seed: which random order.
        or_uniform: draw uniformly from all rows of a window that has fewer than P identities, also
            those without one; for labels that were guessed, and may be as few as any.

    Raises:
        DataError: a window has fewer than P identities; raised now if that is the first.
    """
    batch_size = identities_per_batch * images_per_identity

    def sampler_of(rows: np.ndarray, number: int) -> BatchSampler:
        known, numbers = np.unique(identities[rows], return_inverse=True)
        in_pairs = (np.bincount(numbers) > 1) & (known >= 0)
        if in_pairs.sum() < identities_per_batch:
            in_pairs = known >= 0
        if in_pairs.sum() < identities_per_batch and or_uniform:
            return ShuffledBatches(len(rows), batch_size=batch_size, seed=seed, epoch=number)
        if in_pairs.sum() < identities_per_batch:
            raise DataError(
                f"{in_pairs.sum()} identities in the {len(rows)} rows that the cache holds at a "
                f"time are too few for {identities_per_batch} in a batch; raise data.cache_gb"
            )
        return IdentityBatches(
            RowsByIdentity(np.where(in_pairs[numbers], numbers, -1), cameras[rows]),
            identities_per_batch=identities_per_batch,
            images_per_identity=images_per_identity,
            seed=seed,
            epoch=number,
        )

    return WindowedBatches(
        windows, sampler_of, first_step=first_step, block_size=images_per_identity
    )


def uniform_in_windows(
    *, windows: ShardWindows, first_step: int, batch_size: int, seed: int
) -> WindowedBatches:
    """Uniform batches of all rows of a window; arguments as of `balanced_in_windows`."""

    def sampler_of(rows: np.ndarray, number: int) -> BatchSampler:
        return ShuffledBatches(len(rows), batch_size=batch_size, seed=seed, epoch=number)

    return WindowedBatches(windows, sampler_of, first_step=first_step)


def with_windows_at_hand(
    batches: Generator[Batch, None, None],
    images: ShardedImages,
    *,
    windows: ShardWindows,
    first_step: int,
) -> Generator[Batch, None, None]:
    """Yield the batches of consecutive steps; have their window and the next one fetched.

    A window is let go when the first batch of the next one is asked for: then no thread is at it.
    With the last batch, or when closed, all are.
    """
    return _with_shards_at_hand(
        batches,
        images,
        wanted_at=lambda index, _: (
            windows.shards_of(number := windows.at(first_step + index).number)
            + windows.shards_of(number + 1)
        ),
        wanted_first=windows.at(first_step).shards,
    )


def with_rows_at_hand(
    batches: Generator[tuple[np.ndarray, Batch], None, None],
    images: ShardedImages,
    *,
    first_row: int,
) -> Generator[tuple[np.ndarray, Batch], None, None]:
    """Yield batches of ascending rows; have their shard and the next one fetched."""
    ends = [rows.stop for rows in images.shards]

    def wanted(row: int) -> tuple[int, ...]:
        shard = int(np.searchsorted(ends, row, side="right"))
        return tuple(range(shard, min(shard + 2, len(ends))))

    return _with_shards_at_hand(
        batches,
        images,
        wanted_at=lambda _, batch: wanted(int(batch[0][0])),
        wanted_first=wanted(first_row),
    )


def _with_shards_at_hand(
    batches: Generator[Batch, None, None],
    images: ShardedImages,
    *,
    wanted_at: Callable[[int, Batch], tuple[int, ...]],
    wanted_first: tuple[int, ...],
) -> Generator[Batch, None, None]:
    at_hand = wanted_first
    images.prefetch(at_hand)
    try:
        with contextlib.closing(batches):
            for index, batch in enumerate(batches):
                wanted = wanted_at(index, batch)
                if wanted != at_hand:
                    images.release([shard for shard in at_hand if shard not in wanted])
                    images.prefetch([shard for shard in wanted if shard not in at_hand])
                    at_hand = wanted
                yield batch
    finally:
        images.release(at_hand)
