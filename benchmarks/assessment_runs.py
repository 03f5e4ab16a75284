"""The runs that the assessment without labels is fitted to and checked on: domains and settings.

A ring of rendered domains, each the source of the next, so that every transfer has a target of its
own. They differ in cameras, people and images; the settings go from the ceiling to broken ones.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from daam.config.load import nested, read_preset, run_config
from daam.config.schema import RunConfig
from daam.dataset.format.manifest import has_domain
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.pixels.normalise import normalise
from daam.dataset.reading.labels import read_identities
from daam.inference.views import embedded_views
from daam.metrics.diagnostics import domain_probe_accuracy
from daam.spread import spread_evenly
from daam.storage import open_store
from daam.synthetic.named import domain_look
from daam.synthetic.render import RenderPlan, render_domain
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, embedder_for, score
from daam.training.setup.assemble import Run, assemble
from daam.training.setup.data import shard_cache

# Number of cameras, how much they differ, train people, most images per camera.
DOMAINS = {
    "harbour": (2, 0.5, 150, 4),
    "market": (3, 0.9, 120, 3),
    "museum": (4, 0.5, 160, 3),
    "airport": (6, 1.0, 90, 3),
    "school": (5, 0.3, 100, 4),
    "stadium": (3, 0.8, 140, 4),
    "library": (4, 2.0, 110, 4),
    "tunnel": (2, 1.2, 170, 3),
    # Not in the ring: for a check after everything was chosen.
    "bakery": (4, 0.6, 120, 4),
    "garden": (5, 1.0, 130, 3),
}
NAMES = tuple(DOMAINS)[:8]
FRESH_TRANSFERS = ("bakery->garden", "garden->bakery")
TRANSFERS = tuple(
    f"{source}->{target}" for source, target in zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True)
)
NUM_TEST_PEOPLE = 60

BUDGET: dict[str, Any] = {
    "data.height": 48,
    "data.width": 24,
    "data.augmentation.pad": 2,
    "data.augmentation.erase": 0.3,
    "data.augmentation.brightness": 0.2,
    "data.augmentation.contrast": 0.2,
    "data.augmentation.saturation": 0.2,
    "data.identities_per_batch": 8,
    "data.target_batch_size": 32,
    "data.num_threads": 1,
    "model.backbone": "tiny",
    "loss.warmup_epochs": 3,
    "loss.ramp_epochs": 1,
    "loss.target.num_neighbours": 12,
    "loss.target.num_expansion": 3,
    "optimiser.learning_rate": 6e-3,
    "optimiser.num_epochs": 8,
    "optimiser.steps_per_epoch": 30,
    "optimiser.warmup_epochs": 1,
    "optimiser.schedule": "cosine",
    "evaluation.batch_size": 256,
    "compute.device": "cpu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Settings to be told apart without labels: a preset and changes to it."""

    name: str
    preset: str = "daam_v2"
    changes: dict[str, Any] = field(default_factory=dict)


DEFAULTS, STRONG, CEILING = "defaults", "strong", "the target's own labels"
VARIANTS = (
    Variant(name=DEFAULTS),
    Variant(name="source only", preset="source_only"),
    Variant(name=STRONG, preset="strong"),
    Variant(name="groups without centring", changes={"loss.target.centre_cameras": False}),
    Variant(name="eps .85", changes={"loss.target.eps": 0.85}),
    Variant(name="learning rate .1", changes={"optimiser.learning_rate": 0.1}),
    Variant(
        name="norm statistics of the target",
        preset="source_only",
        changes={"evaluation.reestimate_norm": True},
    ),
    Variant(name="eps .2", changes={"loss.target.eps": 0.2}),
    Variant(
        name="two epochs, no warm-up",
        changes={"optimiser.num_epochs": 2, "loss.warmup_epochs": 0},
    ),
    Variant(name="triplets of groups", changes={"loss.target.triplet_weight": 1.0}),
    Variant(name="no warm-up", changes={"loss.warmup_epochs": 0, "loss.ramp_epochs": 0}),
    Variant(name="exemplars", preset="daam_v1"),
    Variant(
        name="target alone, without centring, long",
        changes={
            "loss.target.centre_cameras": False,
            "loss.target.weight": 10.0,
            "loss.target.eps": 0.7,
            "loss.warmup_epochs": 1,
            "optimiser.num_epochs": 10,
        },
    ),
    Variant(name=CEILING, preset="supervised_target"),
    Variant(name="no loss of the target", changes={"loss.target.kind": "none"}),
    Variant(
        name="k1 60, few source people",
        changes={"loss.target.num_neighbours": 60, "data.identities_per_batch": 4},
    ),
)


def settings_of(variant: Variant, transfer: str, *, root: str) -> RunConfig:
    """The settings of a run: the budget, then the variant's."""
    tree = {**BUDGET, "transfer": transfer, "data.root": root, **variant.changes}
    return run_config(read_preset(variant.preset), nested(tree))


def prepare(root: Path, *, transfers: Sequence[str]) -> None:
    """Render and import those of the transfers' domains that are missing."""
    needed = {domain for transfer in transfers for domain in transfer.split("->")}
    for seed, (name, (num_cameras, strength, num_people, images)) in enumerate(DOMAINS.items(), 11):
        if name not in needed or has_domain(open_store(str(root)), name):
            continue
        plan = RenderPlan(
            domain=name,
            seed=seed,
            num_train_identities=num_people,
            num_test_identities=NUM_TEST_PEOPLE,
            num_cameras=num_cameras,
            height=64,
            width=32,
            max_images_per_camera=images,
            num_distractors=NUM_TEST_PEOPLE,
            look=replace(domain_look(name, seed=seed), camera_strength=strength),
        )
        with tempfile.TemporaryDirectory(prefix="daam-render-") as scratch:
            folder = Path(scratch) / name
            count = render_domain(plan, to=folder)
            import_domain(read_layout("market1501", folder), domain=name, to=open_store(str(root)))
        print(f"{name}: {count} images", file=sys.stderr, flush=True)


def train_missing(to: Path, *, transfers: Sequence[str] = TRANSFERS) -> None:
    """Train and test the runs that are missing: each a line of `runs.jsonl`, and embeddings."""
    torch.set_num_threads(1)
    root, lines = to / "domains", to / "runs.jsonl"
    prepare(root, transfers=transfers)
    done = {(run["variant"], run["transfer"]) for run in read_runs(to)}
    for variant in VARIANTS:
        for transfer in transfers:
            if (variant.name, transfer) in done:
                continue
            found = train(variant, transfer, to=to)
            with lines.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(
                f"{variant.name}, {transfer}: mAP {found['mAP']:.3f}, {found['cpu_s']:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def read_runs(to: Path) -> list[dict[str, Any]]:
    """The runs that were trained, a dictionary each."""
    lines = to / "runs.jsonl"
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def train(variant: Variant, transfer: str, *, to: Path) -> dict[str, Any]:
    """Train and test one run and store the embeddings that scores without labels are made of."""
    begin = time.process_time()
    config = settings_of(variant, transfer, root=str(to / "domains"))
    run = assemble(config)
    test = RetrievalTest.on_test(config, domain=config.pair().target)
    earlier: dict[str, torch.Tensor] = {}
    reports = []
    for report in fit(run):
        reports.append(report.as_metrics())
        if report.epoch == report.num_epochs - 1:
            earlier = {"earlier": embedded(run, test)["plain"]}
    scores = score(run.embedder, test, config).scores
    views = embedded(run, test)
    others = {}
    if run.teacher is not None:
        others["student"] = embedded(run, test, network=run.network)["plain"]
    name = f"{transfer.replace('->', '-')}.{VARIANTS.index(variant):02d}.npz"
    rows = spread_evenly(run.source.reader.num_rows, count=500)
    source_NC = embedder_for(
        run.source.reader, run.embedder, config, domain=config.pair().source
    ).eval()
    with torch.inference_mode():
        source = source_NC.embed(normalise(run.source.reader.read(rows)))
    both = torch.cat([source, views["plain"]])
    domains = torch.cat([torch.zeros(len(source)), torch.ones(len(views["plain"]))])
    stored: dict[str, Any] = {
        key: value.numpy().astype(np.float16) for key, value in (views | earlier | others).items()
    }
    stored["cameras"] = test.unlabelled.cameras
    stored["identities"] = read_identities(
        open_store(config.data.root),
        manifest=run.target.manifest,
        splits=run.target.manifest.whole_train_splits,
        cache=shard_cache(config),
    )
    np.savez(to / name, **stored)
    return {
        "variant": variant.name,
        "transfer": transfer,
        "mAP": scores.mean_average_precision,
        "rank-1": scores.cmc[1],
        "domain_probe": domain_probe_accuracy(both, domains, seed=1),
        "embeddings": name,
        "cpu_s": time.process_time() - begin,
        "reports": reports,
        "settings": config.model_dump(),
    }


def embedded(run: Run, test: RetrievalTest, *, network: Any = None) -> dict[str, torch.Tensor]:
    """The views of the target's train images, embedded as for a test."""
    embedder = embedder_for(
        test.unlabelled, network or run.embedder, run.config, domain=test.domain
    )
    rows = np.arange(test.unlabelled.num_rows)
    return embedded_views(embedder, test.unlabelled, run.config, rows=rows)


if __name__ == "__main__":
    train_missing(Path(sys.argv[1]))
