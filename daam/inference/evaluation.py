"""A trained run on a domain: scores of its test, or an assessment where it has no labels."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daam.config.schema import RunConfig
from daam.dataset.format.manifest import DomainManifest
from daam.dataset.loader.ordered import ordered_batches
from daam.domains import Split, check_domain
from daam.errors import EvaluationError
from daam.inference.assessment import Assessment
from daam.inference.embedder import open_trained
from daam.inference.pictures import draw_embeddings, draw_lists, draw_maps
from daam.inference.unlabelled import assess_domain
from daam.metrics.calibration import (
    Calibration,
    PairChoice,
    calibrate,
    check_supported,
    choose_pairs,
)
from daam.metrics.colour_histogram import colour_histogram
from daam.metrics.reranking import reranked_scores
from daam.metrics.retrieval import (
    RetrievalScores,
    cosine_distances,
    retrieval_scores_from_embeddings,
)
from daam.plots.calibration import draw_calibration
from daam.runs.results import Kind, record_result
from daam.storage import open_store
from daam.storage.atomic import atomic_write
from daam.storage.local import check_path
from daam.training.scoring.retrieval_test import QUERIES_AT_ONCE, RetrievalTest, score
from daam.training.setup.data import manifest_of
from daam.training.state import trained_network

FALSE_MATCH_RATE = 0.001
CAMERAS_UNKNOWN = (
    "the cameras of {domain} are unknown, so matches by the query's own camera count too: scores "
    "are higher than under the Market-1501 protocol"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a run finds the people of a domain.

    Attributes:
        domain: whose query and gallery were the test, or whose train images were looked at.
        scores: mAP, mINP, CMC and the average precision of each query; None without labels.
        reranked: the same of re-ranked distances, if requested; never compare them with `scores`.
        calibration: a threshold for "same person"; None if the test has too few pairs for one at
            the default rate.
        assessment: without labels, what can be said instead; None with them.
        warnings: what limits the scores, the calibration or the assessment.
        files: that were written.
    """

    domain: str
    scores: RetrievalScores | None
    reranked: RetrievalScores | None = None
    calibration: Calibration | None = None
    assessment: Assessment | None = None
    warnings: list[str]
    files: list[Path]


def evaluate(
    run: str | Path,
    *,
    domain: str | None = None,
    to: str | Path | None = None,
    data_root: str | None = None,
    false_match_rate: float | None = None,
    rerank: bool = False,
    without_labels: bool = False,
) -> Evaluation:
    """Test the newest checkpoint of a run on a domain's query and gallery, whose labels are read.

    Of a domain that has none, the train images are assessed instead, see
    `daam.inference.unlabelled`.

    Args:
        run: folder of the run, local or on S3.
        domain: to test on; by default the run's target.
        to: local folder for `scores.json`, `ranked-lists.png`, `projection.png`,
            `calibration.png` and, for a network with attention, `attention.png`; without labels
            `assessment.json`, `neighbours.png` and `groups.png` in place of the first two and of
            the calibration. None writes nothing.
        data_root: where the domains are, if they have moved since the run.
        false_match_rate: to find a threshold for; by default 0.001 if there are enough pairs.
        rerank: score k-reciprocal re-ranked distances, too, with the published settings.
        without_labels: assess the domain as if it had no labels.

    Raises:
        DaamError: there is no such run or domain, one of them is damaged, there are too few
            pairs for the rate that was requested, or a rate or re-ranking was requested without
            labels.
    """
    run, to = os.fspath(run), None if to is None else check_path(Path(to))
    config, state = open_trained(run, data_root=data_root)
    domain = config.pair().target if domain is None else check_domain(domain)
    manifest = manifest_of(config, domain)
    network = trained_network(config, state, where=run)
    title = f"{run} ({config.transfer}) on {domain}"
    warnings = []
    if domain in config.pair().sources:
        warnings = [f"{domain} is a source of this run, so this says nothing about other cameras"]
    header = {"run": run, "transfer": config.transfer, "domain": domain}
    if without_labels or not has_test(manifest):
        if rerank or false_match_rate is not None:
            raise EvaluationError(
                f"{domain} is assessed without labels, and {'re-ranking' if rerank else 'a rate'} "
                "needs labelled queries and a gallery; leave it out, or find a threshold by "
                "answering fifty questions: daam label"
            )
        assessment, files = assess_domain(
            network, config, manifest, title=title, header=header, to=to
        )
        if to is not None:
            document = header | assessment.as_document()
            _record(run, domain=domain, kind="assessment", document=document, files=files)
        return Evaluation(
            domain=domain,
            scores=None,
            assessment=assessment,
            warnings=[*warnings, *assessment.warnings],
            files=files,
        )
    test = RetrievalTest.on_test(config, domain=domain)
    cameras_known = all(side.labels.cameras is not None for side in (test.query, test.gallery))
    choice = choose_pairs(query_labels=test.query.labels, gallery_labels=test.gallery.labels)
    rate, unsupported = supported_rate(choice, asked=false_match_rate)

    result = score(network, test, config)
    query_NC, gallery_NC = result.query_NC, result.gallery_NC
    reranked = None
    if rerank:
        reranked = reranked_scores(
            query_NC,
            gallery_NC,
            query_labels=test.query.labels,
            gallery_labels=test.gallery.labels,
            chunk=QUERIES_AT_ONCE,
        )
    same, other = choice.pairs(cosine_distances(query_NC[choice.rows_R], gallery_NC).numpy())
    calibration = None
    if rate is not None:
        calibration = calibrate(same, other, false_match_rate=rate, seed=config.seed)
    warning = unsupported if calibration is None else calibration.warning

    files: list[Path] = []
    if to is not None:
        document = {
            **header,
            **result.scores.as_document(),
            "same_camera_junk": cameras_known,
            **({} if reranked is None else {"reranked": reranked.as_document()}),
            "calibration": {"threshold": None, "warning": warning}
            if calibration is None
            else calibration.as_document(),
        }
        files = [
            to / "scores.json",
            draw_lists(test, result, title=title, to=to / "ranked-lists.png"),
            draw_embeddings(
                test.unlabelled,
                network,
                config,
                domain=domain,
                title=title,
                to=to / "projection.png",
            ),
        ]
        if len(same) and len(other):
            whence = "from different cameras" if cameras_known else "of any cameras"
            files.append(to / "calibration.png")
            draw_calibration(
                same,
                other,
                calibration=calibration,
                title=title,
                subtitle=f"query and gallery images {whence}, without junk and distractors",
                to=files[-1],
            )
        if network.attention is not None:
            path = to / "attention.png"
            reader = test.query.reader
            draw_maps(reader, result.embedder, config, title=title, of="queries", to=path)
            files.append(path)
        atomic_write(to / "scores.json", [json.dumps(document, indent=1).encode()])
        _record(run, domain=domain, kind="scores", document=document, files=files)
    return Evaluation(
        domain=domain,
        scores=result.scores,
        reranked=reranked,
        calibration=calibration,
        warnings=[
            *warnings,
            *([] if cameras_known else [CAMERAS_UNKNOWN.format(domain=domain)]),
            *([] if warning is None else [warning]),
        ],
        files=files,
    )


def has_test(manifest: DomainManifest) -> bool:
    """Whether a domain has a query and a gallery with labels."""
    return all(
        split in manifest.splits and manifest.splits[split].has_identities
        for split in (Split.QUERY, Split.GALLERY)
    )


def supported_rate(choice: PairChoice, *, asked: float | None) -> tuple[float | None, str | None]:
    """Return the false-match rate to find a threshold for, or None and why there is none.

    Raises:
        EvaluationError: there are too few pairs for the rate that was requested.
    """
    rate = FALSE_MATCH_RATE if asked is None else asked
    try:
        check_supported(
            rate,
            num_same=int(np.count_nonzero(choice.same_RG)),
            num_other=int(np.count_nonzero(choice.other_RG)),
        )
    except EvaluationError as error:
        if asked is not None:
            raise
        return None, str(error)
    return rate, None


def colour_histogram_scores(config: RunConfig, *, domain: str) -> RetrievalScores:
    """Score the colour-histogram baseline on a domain's query and gallery.

    Histograms are taken of the middle of the image, where the person is: over the whole of it the
    background decides, and the baseline would be too easy to beat.
    """
    test = RetrievalTest.on_test(config, domain=domain)
    top, left = config.data.height // 16, config.data.width // 4
    query, gallery = (
        torch.cat(
            [
                colour_histogram(images_BHWC[:, top:-top, left:-left].contiguous())
                for _, images_BHWC in ordered_batches(
                    side.reader,
                    batch_size=config.evaluation.batch_size,
                    rank=0,
                    num_ranks=1,
                    num_threads=config.data.num_threads,
                )
            ]
        )
        for side in (test.query, test.gallery)
    )
    return retrieval_scores_from_embeddings(
        query,
        gallery,
        query_labels=test.query.labels,
        gallery_labels=test.gallery.labels,
        chunk=QUERIES_AT_ONCE,
    )


def _record(
    run: str, *, domain: str, kind: Kind, document: dict[str, Any], files: Sequence[Path]
) -> None:
    pictures = [file for file in files if file.suffix == ".png"]
    record_result(open_store(run), domain=domain, kind=kind, document=document, pictures=pictures)
