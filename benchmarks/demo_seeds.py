"""The demo's comparison over several seeds, with a ceiling.

For each seed: the demo's study (`python launch.py tune` with that seed of the search, of the
networks and of the batches), and as the ceiling a run supervised by the holdout target's own
labels, with over four times the demo's budget. The synthetic images are the same for all seeds.
Prints a Markdown table of mean and spread (sample standard deviation), and writes every number to
`demo_seeds.json`. On other domains than the demo's, with other people before other cameras:

    python benchmarks/demo_seeds.py --seeds 1 2 3
    python benchmarks/demo_seeds.py --domains harbour market museum --to runs/harbour

Resumable: only missing parts are run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import tomlkit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.runs.demo_domains import DEMO_DOMAINS, prepare_demo
from daam.runs.preparation import DEMO_SEED
from daam.storage import open_store

ROOT = Path(__file__).resolve().parent.parent
NUM_CEILING_EPOCHS = 44


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description="The demo over several seeds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", dest="settings", nargs="*", default=[], help="of each study")
    parser.add_argument(
        "--domains",
        nargs=3,
        default=DEMO_DOMAINS,
        help="source, the search's other domain, target of the holdout",
    )
    parser.add_argument("--render-seed", type=int, default=DEMO_SEED)
    parser.add_argument("--to", type=Path, default=Path("runs/demo-seeds"))
    arguments = parser.parse_args()
    source, other, target = arguments.domains
    root = arguments.to / f"domains-{arguments.render_seed}"
    prepare_demo(open_store(str(root)), seed=arguments.render_seed, domains=arguments.domains)
    settings = [
        f"data.root={root}",
        f'study.search_transfers=["{source}->{other}", "{other}->{source}"]',
        f"study.holdout={source}->{target}",
        *arguments.settings,
    ]
    found = {
        seed: study(seed, arguments.to, settings)
        | {
            "trained on the target's labels": ceiling(
                seed, arguments.to, root=root, source=source, target=target
            )
        }
        for seed in arguments.seeds
    }
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in arguments.seeds:
        for name, scores in found[seed].items():
            row = rows.setdefault(name, {"mAP": [], "rank-1": []})
            row["mAP"].append(scores["mean_average_precision"])
            row["rank-1"].append(scores["cmc"]["1"])
    (arguments.to / "demo_seeds.json").write_text(json.dumps(found, indent=1))
    print(f"| {source}->{target}, seeds {', '.join(map(str, arguments.seeds))} | mAP | rank-1 |")
    print("|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {spread(row['mAP'])} | {spread(row['rank-1'])} |")


def study(seed: int, folder: Path, settings: list[str]) -> dict[str, dict]:
    """The scores of one seed's contenders and of the baseline."""
    name = f"seed-{seed}"
    document = folder / name / "study.json"
    if not document.exists():
        half_done = (folder / name / "study.toml").exists()
        launch(
            "tune",
            *(
                ["--resume", str(folder / name)]
                if half_done
                else [
                    *("--storage", str(folder), "--name", name),
                    *("--set", f"seed={seed}", "--set", f"study.seed={seed}"),
                    *("--set", "study.contender_seeds=1"),
                    *(word for setting in settings for word in ("--set", setting)),
                ]
            ),
        )
    holdout = json.loads(document.read_text())["holdout"]
    scores = {"colour histogram": holdout["colour_histogram"]}
    return scores | {name: row["scores"][str(seed)] for name, row in holdout["contenders"].items()}


def ceiling(seed: int, folder: Path, *, root: Path, source: str, target: str) -> dict:
    """Train on the holdout target's own labels, test on its query and gallery."""
    name = f"ceiling-{seed}"
    scores = folder / f"{name}-scores" / "scores.json"
    if scores.exists():
        return json.loads(scores.read_text())
    if not (folder / name / "config.toml").exists():
        demo = tomllib.loads((ROOT / "tune/spaces/demo.toml").read_text())
        del demo["study"], demo["search"]
        demo["optimiser"]["num_epochs"] = NUM_CEILING_EPOCHS
        settings = folder / f"{name}.toml"
        settings.write_text(tomlkit.dumps(demo))
        launch(
            *("train", "--preset", "source_only", "--config", str(settings)),
            *("--transfer", f"{target}->{source}", "--set", f"seed={seed}"),
            *("--set", f"data.root={root}", "--storage", str(folder), "--name", name),
        )
    else:
        launch("train", "--resume", str(folder / name))
    launch(
        *("evaluate", "--checkpoint", str(folder / name), "--domain", target),
        *("--to", str(scores.parent)),
    )
    return json.loads(scores.read_text())


def launch(*words: str) -> None:
    """Run a command of daam and show what it prints."""
    subprocess.run([sys.executable, str(ROOT / "launch.py"), *words], check=True)


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
