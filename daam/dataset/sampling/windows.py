"""Batches from windows: a few shards at a time, for data larger than the cache.

A pass goes through all shards in a random order, cut into windows of a few. The batches of a
window's steps are drawn from its rows alone, about as many rows as it has. The window of a step is
a function of shards, seed and step: it does not depend on ranks or on where a run was resumed.

Shapes: N = rows of the data set, W = rows of a window, B = rows in a global batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from daam.dataset.sampling.samplers import (
    BatchSampler,
    IdentityBatches,
    RowsByIdentity,
    ShuffledBatches,
)
from daam.errors import DataError


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
        windows_per_pass: with shards, batch size and seed, this determines the window of a step.
    """

    def __init__(
        self, shards: Sequence[range], *, shards_per_window: int, batch_size: int, seed: int
    ) -> None:
        """Lay out windows of at most `shards_per_window` shards.

        Args:
            shards: the rows of each shard.
            shards_per_window: at least 1; windows of a pass differ by one shard at most.
            batch_size: B; a pass has N / B steps, divided among the windows by their rows.
            seed: of the orders of the shards.

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
        # Threads may share one tuple that is read once and replaced as a whole.
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
        """Make the sampler of the epoch's first window.

        Args:
            windows: of the run.
            sampler_of: makes a sampler from the rows of a window, (W,) int64, and its number; its
                batches are places among those rows.
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

    def shards(self, step: int) -> tuple[int, ...]:
        """The shards of a step's window, then those of the next window."""
        number = self._windows.at(self._first_step + step).number
        return self._windows.shards_of(number) + self._windows.shards_of(number + 1)

    def _enter(self, window: Window) -> tuple[int, np.ndarray, BatchSampler]:
        rows = np.concatenate([np.array(self._windows.shards[shard]) for shard in window.shards])
        return window.number, rows, self._sampler_of(rows, window.number)


def balanced_in_windows(
    identities: np.ndarray,
    cameras: np.ndarray | None,
    *,
    windows: ShardWindows,
    first_step: int,
    identities_per_batch: int,
    images_per_identity: int,
    seed: int,
    or_uniform: bool,
) -> WindowedBatches:
    """Identity-balanced batches of the identities with two or more images in the window.

    A single image makes no pair, so an identity with one waits for another window; if the window
    has too few others for a batch, all its identities are drawn.

    Args:
        identities: (N,) integers, negative ones are never drawn; may differ between epochs.
        cameras: (N,) integers; None: unknown.
        windows: of the run.
        first_step: steps of the run before this epoch.
        identities_per_batch: P.
        images_per_identity: K.
        seed: which random order.
        or_uniform: draw uniformly from all rows of a window that has fewer than P identities; for
            pseudo-labels, of which there may be any number.

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
            RowsByIdentity(
                np.where(in_pairs[numbers], numbers, -1),
                None if cameras is None else cameras[rows],
            ),
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
