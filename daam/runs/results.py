"""What was found out about a finished run, kept in its folder: one JSON file per domain and kind.

results/mine.scores.json        query and gallery with labels
results/mine.labelled.json      pairs that a person answered
results/mine.assessment.json    scores that need no labels
results/mine.projection.png     pictures of either, for the run's report
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from daam.errors import StorageError
from daam.storage import Store

RESULTS = "results"
Kind = Literal["scores", "labelled", "assessment"]
KINDS: tuple[Kind, ...] = ("scores", "labelled", "assessment")

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

    A folder that may not be written does not fail the command that found the result: that is said
    in a warning.
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
        for kind in KINDS:
            if rest == f"{kind}.json":
                try:
                    document = json.loads(folder.read(key))
                except ValueError:
                    document = None
                if isinstance(document, dict):
                    found[domain, kind] = document
                else:
                    log.warning("%s is damaged and left out", folder.locate(key))
    return found
