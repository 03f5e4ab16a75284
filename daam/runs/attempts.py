"""The attempts at training a run: after a restart, what is left of an earlier one writes nothing.

attempts/0002.json     which process began the second attempt, where, when, and after which epoch
"""

from daam.runs.checkpoint import CHECKPOINTS, latest_checkpoint
from daam.runs.fences import Owner, Turn, content_of, number_of
from daam.storage import Store
from daam.storage.fenced import FencedStore
from daam.training import collectives

ATTEMPTS = "attempts"


def begin_attempt(folder: Store) -> FencedStore:
    """Return a run's folder for a process that trains it; processes before it are kept out.

    Raises:
        CheckpointError: the run's pointer to its newest state is damaged.
        StorageError: the store cannot be reached or refuses.
    """
    turn = Turn(folder, prefix=ATTEMPTS, what="the run")
    newest = latest_checkpoint(folder.child(CHECKPOINTS))
    owner = Owner.this_process(
        epoch=0 if newest is None else newest.num_epochs_done,
        num_workers=collectives.num_ranks(),
    )
    while not turn.take(after=turn.highest(), owner=owner):
        pass
    return turn.fenced()


def attempt_keys(folder: Store) -> list[str]:
    """Return the keys of a run's attempts, the first one first."""
    return sorted(folder.list(f"{ATTEMPTS}/"), key=number_of)


def read_attempt(folder: Store, key: str) -> Owner:
    """Return which process began an attempt, after which epoch and with how many workers."""
    return Owner.read(content_of(folder, key))
