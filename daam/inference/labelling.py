"""Questions about pairs of a domain's images, and what the answers say about a model.

A pair is an image and the one that the model finds nearest to it among the images of other cameras:
what a search shows first. So the error rate is that of a search's first answer. It counts as an
error, too, if a person was seen by one camera only: then there is nothing right to find.

Shapes: N = images, P = pairs, C = embedding width.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from daam.dataset.format.manifest import DomainManifest
from daam.dataset.reading.image_table import ImageTable, open_images
from daam.documents import Count, MalformedError, parse_json
from daam.domains import WHOLE_TRAIN_SPLITS, Split, check_domain
from daam.errors import EvaluationError
from daam.inference.embedder import open_embedder
from daam.metrics.pair_questions import ALLOWED_ERRORS, Measured, PairQuestions
from daam.spread import spread_evenly
from daam.storage import MissingKeyError, open_store
from daam.storage.atomic import atomic_write
from daam.storage.local import LocalStore, check_path
from daam.storage.private import PRIVATE_FILE, make_folder
from daam.training.scoring.extract import embed_rows
from daam.training.setup.compute import compute_of
from daam.training.setup.data import manifest_of, pixel_reader, shard_cache

Answer = Literal["same", "different", "unsure"]
MEANING: dict[str, bool | None] = {"same": True, "different": False, "unsure": None}
ANSWERS_NAME, RESULT_NAME = "answers.json", "labelled.json"
MAX_PAIRS = 5_000
QUERIES_AT_ONCE = 512


class StoredAnswer(BaseModel):
    """An answer in a file; the rows of the pair are for readers."""

    pair: Count
    answer: Answer


class StoredAnswers(BaseModel):
    """A file of answers; the other entries are what they belong to."""

    model_config = ConfigDict(extra="allow")

    answers: list[StoredAnswer]


ANSWERS = TypeAdapter(StoredAnswers)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledResult:
    """What the answers say.

    Attributes:
        error_rate: share of images whose nearest under another camera shows another person.
        threshold: the largest distance below which at most `allowed` of these pairs are wrong; 0
            if there is none.
        allowed: that share.
        num_same: pairs said to show one person.
        num_different: two people.
        num_unsure: that could not be told; they count for nothing.
        across_cameras: whether the domain's cameras are known: if not, the nearest image may be
            the next one of the same camera, which is easier.
    """

    error_rate: Measured
    threshold: Measured
    allowed: float
    num_same: int
    num_different: int
    num_unsure: int
    across_cameras: bool

    def in_words(self) -> str:
        """One or two sentences for a person."""
        rate, threshold = self.error_rate, self.threshold
        where = "under another camera" if self.across_cameras else "in the domain"
        text = (
            f"For {1 - rate.value:.0%} of the images the nearest one {where} shows the same "
            f"person ({1 - rate.high:.0%} to {1 - rate.low:.0%})."
        )
        if threshold.value == 0:
            return f"{text} No distance is small enough for {1 - self.allowed:.0%} right answers."
        return (
            f"{text} Below a cosine distance of {threshold.value:.3f} at least "
            f"{1 - self.allowed:.0%} are right ({threshold.low:.3f} to {threshold.high:.3f})."
        )


class LabellingSession:
    """The questions of one model about one domain; every answer is on the disk before the next.

    Attributes:
        folder: with `answers.json` and `labelled.json`.
        num_pairs: that the numbers are about, one per image.
    """

    def __init__(
        self,
        *,
        images: ImageTable,
        pairs_P2: np.ndarray,
        distances_P: np.ndarray,
        across_cameras: bool,
        about: dict[str, Any],
        folder: Path,
    ) -> None:
        """
        Args:
            pairs_P2: rows of two images each.
            distances_P: their cosine distances.
            about: what the answers belong to; answers about something else are refused.

        Raises:
            EvaluationError: the folder has answers about something else, or another process asks.
        """
        self.folder = folder
        self.num_pairs = len(pairs_P2)
        self._images = images
        self._pairs_P2 = pairs_P2
        self._across_cameras = across_cameras
        self._about = about
        make_folder(folder)
        self._lock = _exclusive(folder / ".lock")
        self._history: list[tuple[int, Answer]] = []
        self._distances_P = distances_P
        self._pair_of = {tuple(rows): pair for pair, rows in enumerate(pairs_P2.tolist())}
        self._restart(_read_answers(folder / ANSWERS_NAME, about=about, num_pairs=self.num_pairs))

    @classmethod
    def opened(
        cls,
        run: str | os.PathLike[str],
        *,
        domain: str | None,
        to: str | os.PathLike[str],
        data_root: str | None = None,
    ) -> Self:
        """Embed a domain's images by a run's newest checkpoint and pair them.

        Raises:
            DaamError: there is no such run or domain, it has no two images to compare, or the
                folder has answers about something else.
        """
        embedder = open_embedder(os.fspath(run), domain=domain, data_root=data_root)
        config = embedder.config
        manifest = manifest_of(config, check_domain(embedder.domain))
        splits = compared_splits(manifest)
        images = open_images(
            open_store(config.data.root),
            manifest=manifest,
            splits=splits,
            cache=shard_cache(config),
        )
        embeddings_NC = embed_rows(
            embedder.network,
            pixel_reader(config, images),
            batch_size=config.evaluation.batch_size,
            flip=config.evaluation.flip,
            compute=compute_of(config),
            num_threads=config.data.num_threads,
        )
        pairs_P2, distances_P = nearest_pairs(embeddings_NC, cameras_N=images.cameras)
        if not len(pairs_P2):
            raise EvaluationError(
                f"domain {manifest.domain} has no two images under different cameras to compare; "
                "import images of a second camera, or without camera numbers"
            )
        return cls(
            images=images,
            pairs_P2=pairs_P2,
            distances_P=distances_P,
            across_cameras=images.cameras is not None,
            about={
                "run": open_store(os.fspath(run)).uri,
                "num_epochs": embedder.contract.num_epochs,
                "domain": manifest.domain,
                "images": manifest.digest(splits, with_labels=False),
            },
            folder=check_path(Path(to)),
        )

    @property
    def num_answers(self) -> int:
        """Answers so far, those that could not tell too."""
        return len(self._history)

    def next_question(self) -> int | None:
        """The number of the pair to ask about; the same until it is answered."""
        if self._next is None:
            self._next = self._questions.next_pair()
        return self._next

    def images_of(self, question: int) -> tuple[memoryview, memoryview]:
        """The JPEGs of a pair."""
        left, right = self._images.jpegs(self._pairs_P2[question])
        return left, right

    def answer(self, question: int, answer: Answer) -> None:
        """Take the answer to the present question and write it down.

        Raises:
            EvaluationError: it is not the present question, or no answer.
            StorageError: the folder cannot be written; the answer is not taken.
        """
        if question != self._next or answer not in MEANING:
            raise EvaluationError(
                f"{answer!r} is no answer to the present question; reload the page"
            )
        self._write([*self._history, (question, answer)])
        self._history.append((question, answer))
        self._take(question, answer)
        self._next = None
        self._write_result()

    def undo(self) -> None:
        """Take back the last answer, whose question is the present one again."""
        if not self._history:
            return
        *history, (question, _) = self._history
        self._write(history)
        self._restart(history)
        self._next = question
        self._write_result()

    def result(self) -> LabelledResult | None:
        """What the answers say; None before the first that says anything."""
        given = [answer for _, answer in self._history]
        if not {"same", "different"} & set(given):
            return None
        return LabelledResult(
            error_rate=self._questions.error_rate(),
            threshold=self._questions.threshold(),
            allowed=ALLOWED_ERRORS,
            num_same=given.count("same"),
            num_different=given.count("different"),
            num_unsure=given.count("unsure"),
            across_cameras=self._across_cameras,
        )

    def as_document(self) -> dict[str, Any]:
        """What the answers belong to and say, plain values for a JSON file."""
        found = self.result()
        return self._about | ({} if found is None else asdict(found))

    def close(self) -> None:
        """Let another process ask."""
        self._images.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _restart(self, history: list[tuple[int, Answer]]) -> None:
        self._questions = PairQuestions(self._distances_P, seed=len(self._distances_P))
        self._history = history
        self._next: int | None = None
        for question, answer in history:
            self._take(question, answer)

    def _take(self, question: int, answer: Answer) -> None:
        self._questions.answer(question, same=MEANING[answer])
        left, right = self._pairs_P2[question].tolist()
        if (mirrored := self._pair_of.get((right, left))) is not None:
            self._questions.answer(mirrored, same=None)  # each other's nearest: asked about once

    def _write(self, history: list[tuple[int, Answer]]) -> None:
        answers = [
            {"rows": self._pairs_P2[question].tolist(), "pair": question, "answer": answer}
            for question, answer in history
        ]
        document = self._about | {"answers": answers}
        atomic_write(self.folder / ANSWERS_NAME, [json.dumps(document, indent=1).encode()])

    def _write_result(self) -> None:
        document = json.dumps(self.as_document(), indent=1)
        atomic_write(self.folder / RESULT_NAME, [document.encode()])


def compared_splits(manifest: DomainManifest) -> tuple[Split, ...]:
    """The splits whose images a question may show: those without labels, or all there are."""
    train = tuple(split for split in WHOLE_TRAIN_SPLITS if split in manifest.splits)
    return train or tuple(manifest.splits)


def nearest_pairs(
    embeddings_NC: Tensor, *, cameras_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pair each image with the nearest one under another camera.

    Of more than 5,000 images as many, spread evenly, are paired with the nearest of all.

    Args:
        embeddings_NC: of length 1.
        cameras_N: None if they are unknown: then with the nearest other image.

    Returns:
        (P, 2) rows, the image first, and (P,) cosine distances.
    """
    rows = spread_evenly(len(embeddings_NC), count=MAX_PAIRS)
    cameras = None if cameras_N is None else torch.from_numpy(cameras_N)
    pairs: list[tuple[int, int]] = []
    distances: list[float] = []
    for part in np.array_split(rows, -(-len(rows) // QUERIES_AT_ONCE)):
        chosen = torch.from_numpy(part)
        similarity = embeddings_NC[chosen] @ embeddings_NC.T
        if cameras is None:
            similarity[torch.arange(len(chosen)), chosen] = -torch.inf
        else:
            similarity[cameras[chosen][:, None] == cameras[None]] = -torch.inf
        best, nearest = similarity.max(dim=1)
        for row, other, value in zip(part.tolist(), nearest.tolist(), best.tolist(), strict=True):
            if value > -np.inf:
                pairs.append((row, other))
                distances.append(1 - value)
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(distances, np.float64)


def _read_answers(path: Path, *, about: dict[str, Any], num_pairs: int) -> list[tuple[int, Answer]]:
    store = LocalStore(path.parent)
    try:
        document = parse_json(store.read_document(path.name), ANSWERS)
    except MissingKeyError:
        return []
    except MalformedError as error:
        raise EvaluationError(f"{path} is damaged ({error}); remove it") from error
    given = document.answers
    if document.model_extra != about or any(each.pair >= num_pairs for each in given):
        raise EvaluationError(
            f"{path} holds answers about another model or other images; choose another folder: "
            "--to FOLDER"
        )
    return [(each.pair, each.answer) for each in given]


def _exclusive(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise EvaluationError(
            f"another process asks questions in {path.parent}; end it first, or choose another "
            "folder: --to FOLDER"
        ) from error
    return descriptor
