"""A trained run on the test of a domain: scores, and pictures of what it sees.

Shapes: Q = queries, G = gallery images.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.data.stream import ordered_batches
from daam.data.transforms import normalise
from daam.evaluation.colour_histogram import colour_histogram
from daam.evaluation.pictures import draw_attention_maps, draw_ranked_lists, spread_queries
from daam.evaluation.retrieval import (
    RetrievalScores,
    cosine_distances,
    ranked_gallery,
    retrieval_scores_from_embeddings,
)
from daam.runtime.worker import trained
from daam.storage.publish import write_whole
from daam.training.assemble import build_network, compute_of
from daam.training.scoring import QUERIES_AT_ONCE, RetrievalTest, TestResult, score

NUM_LISTS, NUM_MAPS, NUM_RANKS = 8, 10, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found and wrote."""

    scores: RetrievalScores
    files: list[Path]


def evaluate_run(
    folder_uri: str, *, domain: str, to: Path, data_root: str | None = None
) -> Evaluation:
    """Test the newest checkpoint of a run on a domain's query and gallery.

    Writes `scores.json`, `ranked-lists.png` and, for a network with attention, `attention.png`.

    Args:
        folder_uri: of the run, local or on S3.
        domain: its query and gallery are looked at.
        to: folder for what is written.
        data_root: where the domains are, if not where the run had them.

    Raises:
        DaamError: there is no such run or domain, or one of them is damaged.
    """
    config, state = trained(folder_uri)
    changes = {} if data_root is None else {"data.root": data_root}
    # The weights come from the checkpoint: those a run starts from need not be here.
    # Nor need the machine be one with a GPU.
    config = with_settings(config, {**changes, "model.weights": "none", "compute.device": "auto"})
    network = build_network(config, num_identities=state["num_identities"])
    network.load_state_dict(state["network"])
    compute_of(config).place(network)
    test = RetrievalTest.on_test(config, domain=domain)
    result = score(network, test, config)

    to.mkdir(parents=True, exist_ok=True)
    title = f"{folder_uri} ({config.transfer}) on {domain}"
    document = {"run": folder_uri, "transfer": config.transfer, "domain": domain}
    text = json.dumps(document | result.scores.as_document(), indent=1)
    write_whole(to / "scores.json", [text.encode()])
    files = [to / "scores.json", draw_lists(test, result, title=title, to=to / "ranked-lists.png")]
    if network.attention is not None:
        files.append(draw_maps(test, result, config, title=title, to=to / "attention.png"))
    return Evaluation(scores=result.scores, files=files)


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
        query_identities=test.query.identities,
        query_cameras=test.query.cameras,
        gallery_identities=test.gallery.identities,
        gallery_cameras=test.gallery.cameras,
        chunk=QUERIES_AT_ONCE,
    )


def draw_lists(test: RetrievalTest, result: TestResult, *, title: str, to: Path) -> Path:
    """Draw the ten nearest of a few queries, spread from the best to the worst."""
    rows = spread_queries(result.scores.average_precisions, count=NUM_LISTS)
    ranked = ranked_gallery(
        cosine_distances(result.query_NC[rows], result.gallery_NC).numpy(),
        query_identities=test.query.identities[rows],
        query_cameras=test.query.cameras[rows],
        gallery_identities=test.gallery.identities,
        gallery_cameras=test.gallery.cameras,
        count=NUM_RANKS,
    )
    found = [columns[columns >= 0] for columns in ranked.columns]
    precisions = result.scores.average_precisions[rows]
    scores = result.scores
    draw_ranked_lists(
        list(test.query.reader.read(rows).numpy()),
        results=[list(test.gallery.reader.read(columns).numpy()) for columns in found],
        right=ranked.right,
        query_captions=[
            f"camera {camera}\nAP {precision:.2f}"
            for camera, precision in zip(test.query.cameras[rows], precisions, strict=True)
        ],
        result_captions=[
            [f"camera {test.gallery.cameras[column]}" for column in columns] for columns in found
        ],
        title=title,
        subtitle=(
            f"mAP {scores.mean_average_precision:.3f}, rank-1 {scores.cmc[1]:.3f}; {len(rows)} of "
            f"{scores.num_queries} queries, spread evenly from the best to the worst"
        ),
        to=to,
    )
    return to


def draw_maps(
    test: RetrievalTest, result: TestResult, config: RunConfig, *, title: str, to: Path
) -> Path:
    """Draw where the features of a few queries count as shared and where as specific."""
    rows = np.linspace(0, test.query.reader.num_rows - 1, NUM_MAPS).astype(np.int64)
    images_BHWC = test.query.reader.read(np.unique(rows))
    compute = compute_of(config)
    result.embedder.eval()
    with torch.inference_mode(), compute.autocast():
        attention = result.embedder.attention_maps(normalise(compute.move(images_BHWC)))
    if attention is None:
        raise AssertionError("only a network with attention has maps to draw")
    draw_attention_maps(
        list(images_BHWC.numpy()),
        shared=attention.float().mean(dim=1).cpu().numpy(),
        captions=[f"camera {camera}" for camera in test.query.cameras[np.unique(rows)]],
        title=title,
        subtitle="attention averaged over channels: what goes to the shared and the specific part",
        to=to,
    )
    return to
