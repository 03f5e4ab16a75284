"""A trained run on a domain without labels: an assessment, and pictures to look at.

Shapes: N = images that are looked at, C = embedding width.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.dataset.format.manifest import DomainManifest
from daam.dataset.pixels.reader import Pixels
from daam.errors import EvaluationError
from daam.inference.assessment import (
    Assessment,
    LabelFree,
    assess,
    label_free_scores,
    measured_choice,
)
from daam.inference.pictures import (
    NUM_LISTS,
    NUM_RANKS,
    camera_captions,
    draw_embeddings,
    draw_maps,
    rows_to_show,
)
from daam.inference.views import embedded_views
from daam.model.network import DaamNetwork
from daam.plots.group_sheet import GroupRow, draw_groups
from daam.plots.ranked_lists import RankedList, Result, draw_ranked_lists
from daam.runs.worker import ScoreEpoch
from daam.spread import spread_evenly
from daam.storage.atomic import atomic_write
from daam.training import collectives
from daam.training.scoring.retrieval_test import embedder_for
from daam.training.setup.assemble import Run
from daam.training.setup.data import open_target

# Comparing all pairs of 10,000 images takes seconds; a sample has fewer images of each person.
MAX_IMAGES = 10_000
MIN_IMAGES = 20
NUM_SCORED = 5
LABEL_FREE = "label_free"
RANKING_SCORE = f"{LABEL_FREE}/ranking_score"
NUM_GROUPS, NUM_MEMBERS = 12, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFreeTest:
    """A sample of a domain's train images, none of whose labels are read.

    Attributes:
        domain: its name.
        reader: all of its images.
        rows_N: the sample's rows in it.
        cameras_N: None: unknown.
        tracks_N: None: unknown.
    """

    domain: str
    reader: Pixels
    rows_N: np.ndarray
    cameras_N: np.ndarray | None
    tracks_N: np.ndarray | None

    @classmethod
    def opened(cls, config: RunConfig, manifest: DomainManifest) -> Self:
        """Open the train split of a domain.

        Raises:
            EvaluationError: it has fewer than 20 images.
            DaamError: it is damaged or cannot be read.
        """
        config = with_settings(config, {"data.decode": "cpu", "evaluation.hold_out": False})
        target = open_target(config, manifest)
        if target.reader.num_rows < MIN_IMAGES:
            raise EvaluationError(
                f"{manifest.domain} has {target.reader.num_rows} train images, too few to say "
                f"anything about a model; import at least {MIN_IMAGES}"
            )
        rows_N = spread_evenly(target.reader.num_rows, count=MAX_IMAGES)
        cameras_N, tracks_N = (
            None if column is None else column[rows_N] for column in (target.cameras, target.tracks)
        )
        return cls(
            domain=manifest.domain,
            reader=target.reader,
            rows_N=rows_N,
            cameras_N=cameras_N,
            tracks_N=tracks_N,
        )

    def embedded(self, network: DaamNetwork, config: RunConfig) -> "Embedded":
        """Embed the sample with a network as trained, which is not changed."""
        embedder = embedder_for(self.reader, network, config, domain=self.domain)
        views = embedded_views(embedder, self.reader, config, rows=self.rows_N)
        found = label_free_scores(
            views, cameras=self.cameras_N, tracks=self.tracks_N, seed=config.seed
        )
        return Embedded(embedder=embedder, embeddings_NC=views["plain"], found=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A sample's embeddings, the network that made them, and its scores and groups."""

    embedder: DaamNetwork
    embeddings_NC: Tensor
    found: LabelFree


def label_free_scoring(run: Run) -> ScoreEpoch:
    """Score a run by the assessment of its target, which reads no label.

    It takes four passes over up to 10,000 images and as many groupings, so an adaptation has five
    scores, the last one at its end.
    """
    test = LabelFreeTest.opened(run.config, run.target.manifest)
    begin, end = run.config.loss.warmup_epochs, run.config.num_epochs
    scored = {end, *np.linspace(begin, end, NUM_SCORED + 1).round().astype(int).tolist()[1:]}

    def score_epoch(run: Run) -> dict[str, float]:
        if run.num_epochs_done not in scored:
            return {}
        assessment = assessed_run(run, test)
        return {
            RANKING_SCORE: assessment.ranking_score,
            **{f"{LABEL_FREE}/{name}": value for name, value in assessment.scores.items()},
        }

    return score_epoch


def assessed(run: Run) -> dict[str, Any]:
    """Assess a trained run on its target, as a document for `scores.json`. Collective.

    `choice` says what choosing between runs by the ranking score has been measured to give.
    """
    found = assessed_run(run, LabelFreeTest.opened(run.config, run.target.manifest))
    return found.as_document() | {"choice": measured_choice(found.scores).summary}


def assessed_run(run: Run, test: LabelFreeTest) -> Assessment:
    """Assess a run on its target. Collective: rank 0 does it, every rank gets the result."""
    found = []
    if collectives.rank() == 0:
        found = [assess(test.embedded(run.embedder, run.config).found)]
    (assessment,) = collectives.from_rank_zero(found)
    return assessment


def assess_domain(
    network: DaamNetwork,
    config: RunConfig,
    manifest: DomainManifest,
    *,
    title: str,
    header: dict[str, Any],
    to: Path | None,
) -> tuple[Assessment, list[Path]]:
    """Assess a network on the train split of a domain, none of whose labels are read.

    Args:
        network: of the run, as trained.
        config: of the run.
        manifest: of the domain.
        title: of the pictures.
        header: put before the assessment in `assessment.json`.
        to: local folder for `assessment.json`, `neighbours.png`, `groups.png`, `projection.png`
            and, for a network with attention, `attention.png`; None writes nothing.

    Returns:
        The assessment, and the files that were written.

    Raises:
        DaamError: as `LabelFreeTest.opened`.
    """
    test = LabelFreeTest.opened(config, manifest)
    sample = test.embedded(network, config)
    assessment = assess(sample.found)
    if to is None:
        return assessment, []
    files = [
        to / "assessment.json",
        draw_neighbours(test, sample, title=title, to=to / "neighbours.png"),
        draw_embeddings(
            test.reader,
            network,
            config,
            domain=manifest.domain,
            title=title,
            to=to / "projection.png",
        ),
    ]
    if assessment.num_groups > 0:
        files.append(draw_sample_groups(test, sample, title=title, to=to / "groups.png"))
    if network.attention is not None:
        path = to / "attention.png"
        draw_maps(test.reader, sample.embedder, config, title=title, of="train images", to=path)
        files.append(path)
    document = header | assessment.as_document() | {"group_sizes": group_sizes(sample.found)}
    atomic_write(to / "assessment.json", [json.dumps(document, indent=1).encode()])
    return assessment, files


def group_sizes(found: LabelFree) -> list[int]:
    """The number of images of each group, largest first."""
    groups = found.groups.groups
    return sorted(np.bincount(groups[groups >= 0]).tolist(), reverse=True)


def draw_neighbours(test: LabelFreeTest, sample: Embedded, *, title: str, to: Path) -> Path:
    """Draw the ten nearest images of a few, of other cameras where there are several."""
    cameras = test.cameras_N
    across = cameras is not None and len(np.unique(cameras)) > 1
    shown = np.flatnonzero(np.isin(test.rows_N, rows_to_show(test.reader, count=NUM_LISTS)))
    if len(shown) == 0:  # a sample may have none of them
        shown = spread_evenly(len(test.rows_N), count=NUM_LISTS)
    lists = []
    for query in shown:
        similarity_N = (sample.embeddings_NC @ sample.embeddings_NC[query]).numpy()
        hidden_N = np.arange(len(similarity_N)) == query
        if cameras is not None and across:
            hidden_N = cameras == cameras[query]
        nearest = np.argsort(np.where(hidden_N, np.inf, -similarity_N), kind="stable")
        nearest = nearest[: min(NUM_RANKS, int(np.count_nonzero(~hidden_N)))]
        captions = camera_captions(cameras, rows=nearest)
        (query_caption,) = camera_captions(cameras, rows=np.array([query]))
        lists.append(
            RankedList(
                query=test.reader.read(test.rows_N[[query]]).numpy()[0],
                caption=query_caption,
                results=[
                    Result(
                        image=image,
                        caption=f"{caption}\n{1 - similarity_N[at]:.3f}".strip(),
                        correct=None,
                    )
                    for image, caption, at in zip(
                        test.reader.read(test.rows_N[nearest]).numpy(),
                        captions,
                        nearest,
                        strict=True,
                    )
                ],
            )
        )
    draw_ranked_lists(
        lists,
        title=title,
        subtitle=(
            f"{len(lists)} of {test.reader.num_rows:,} unlabelled images and the nearest "
            f"{'of other cameras' if across else 'to each'}, with cosine distances"
        ),
        to=to,
    )
    return to


def draw_sample_groups(test: LabelFreeTest, sample: Embedded, *, title: str, to: Path) -> Path:
    """Draw members of a few groups, from the largest to the smallest."""
    groups_N, num_groups = sample.found.groups.groups, sample.found.groups.num_groups
    sizes = np.bincount(groups_N[groups_N >= 0], minlength=num_groups)
    by_size = np.argsort(-sizes, kind="stable")
    rows = []
    for group in by_size[spread_evenly(num_groups, count=NUM_GROUPS)]:
        members = np.flatnonzero(groups_N == group)
        caption = f"{len(members)} images"
        if test.cameras_N is not None:
            members = members[np.argsort(test.cameras_N[members], kind="stable")]
            cameras = np.unique(test.cameras_N[members])
            caption += f", camera{'s' if len(cameras) > 1 else ''} {', '.join(map(str, cameras))}"
        members = members[spread_evenly(len(members), count=NUM_MEMBERS)]
        images = list(test.reader.read(test.rows_N[members]).numpy())
        rows.append(GroupRow(caption=caption, images=images))
    draw_groups(
        rows,
        title=title,
        subtitle=(
            f"{len(rows)} of {num_groups:,} groups, from the largest to the smallest; "
            f"{sample.found.groups.outlier_share:.0%} of the images are in none"
        ),
        to=to,
    )
    return to
