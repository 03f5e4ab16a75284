"""Results of evaluating a finished run, kept in its folder: one JSON file per domain and kind.

results/mine.scores.json        query and gallery with labels
results/mine.labelled.json      pairs that a person answered
results/mine.assessment.json    scores that need no labels
results/mine.projection.png     pictures of either, for the run's report
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from daam.documents import Count, MalformedError, Share, parse_json
from daam.errors import EvaluationError, StorageError
from daam.runs.run_folder import SCORES
from daam.storage import Store

RESULTS = "results"
Kind = Literal["scores", "labelled", "assessment"]


class Result(BaseModel):
    """A part of a result as it is stored; it may have more entries, which nothing reads."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Threshold(Result):
    """A distance that was measured on labelled pairs, or why there is none."""

    threshold: float | None
    false_match_rate: Share | None = None

    @model_validator(mode="after")
    def _check_rate(self) -> Self:
        if self.threshold is not None and self.false_match_rate is None:
            raise ValueError("a threshold without false_match_rate")
        return self


class Scores(Result):
    """What a test on labelled queries and a gallery found."""

    mean_average_precision: Share
    mean_inp: Share
    cmc: dict[str, Share]
    num_queries: Count
    num_left_out: Count
    num_epochs: Count = 0
    calibration: Threshold = Threshold(threshold=None)

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        if not {"1", "5"} <= self.cmc.keys() or not all(map(str.isdecimal, self.cmc)):
            raise ValueError("cmc needs rank 1 and 5, and has only ranks")
        return self


class MeasuredShare(Result):
    """A share and its interval."""

    value: Share
    low: Share
    high: Share


class MeasuredDistance(Result):
    """A cosine distance and its interval."""

    value: float
    low: float
    high: float


class Labelled(Result):
    """What the answers of a person say."""

    error_rate: MeasuredShare
    threshold: MeasuredDistance
    allowed: Share
    num_same: Count
    num_different: Count
    num_epochs: Count = 0


class Estimate(Result):
    """An estimate of mAP without labels."""

    mean_average_precision: Share
    low: Share
    high: Share


class Assessed(Result):
    """What was found without labels."""

    ranking_score: Share
    estimate: Estimate | None
    summary: str = "see the file"


SCHEMAS: Mapping[Kind, TypeAdapter[Any]] = {
    "scores": TypeAdapter(Scores),
    "labelled": TypeAdapter(Labelled),
    "assessment": TypeAdapter(Assessed),
}

log = logging.getLogger(__name__)


def record_result(
    folder: Store,
    *,
    domain: str,
    kind: Kind,
    document: Mapping[str, Any],
    pictures: Sequence[Path] = (),
) -> None:
    """Keep a result in a run's folder, in place of an earlier one; write card and report again.

    Pictures are local PNG files, kept by their names.

    A folder that cannot be written to is a warning: the command that found the result goes on.
    """
    from daam.runs.card import write_card  # which reads the results
    from daam.runs.report.page import write_report

    try:
        key = f"{RESULTS}/{domain}.{kind}.json"
        folder.write(key, json.dumps(document, indent=1, default=str).encode())
        for picture in pictures:
            folder.upload(picture, f"{RESULTS}/{domain}.{picture.name}")
        write_card(folder)
        write_report(folder)
    except StorageError as error:
        log.warning("the result is not kept in the run's folder: %s", error)


def read_results(folder: Store) -> dict[tuple[str, Kind], dict[str, Any]]:
    """The results by (domain, kind); a damaged file is left out, with a warning.

    Raises:
        StorageError: the folder cannot be read.
    """
    found: dict[tuple[str, Kind], dict[str, Any]] = {}
    for key in folder.list(f"{RESULTS}/"):
        domain, _, rest = key.removeprefix(f"{RESULTS}/").partition(".")
        for kind in SCHEMAS:
            if rest == f"{kind}.json":
                try:
                    found[domain, kind] = _checked(folder.read_document(key), kind)
                except MalformedError as error:
                    log.warning("%s is damaged and left out: %s", folder.locate(key), error)
    return found


def read_scores(folder: Store) -> tuple[Kind, dict[str, Any]]:
    """Return what a run's test after its training found, with labels or without.

    Raises:
        MissingKeyError: it has not been tested.
        EvaluationError: the file is damaged.
    """
    content = folder.read_document(SCORES)
    kind: Kind = "scores" if b'"mean_inp"' in content else "assessment"
    try:
        return kind, _checked(content, kind)
    except MalformedError as error:
        raise EvaluationError(
            f"{folder.locate(SCORES)} is damaged ({error}); delete it, and resume the study to "
            "test that run again"
        ) from error


def _checked(content: bytes, kind: Kind) -> dict[str, Any]:
    return parse_json(content, SCHEMAS[kind]).model_dump(exclude_unset=True)
