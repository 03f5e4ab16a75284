"""The tables of docs/benchmarks/loaders.md from the results of `benchmarks/loader.py`."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]

NAMES = {
    "ours": "**daam**",
    "image_folder": "torchvision ImageFolder",
    "web_dataset": "WebDataset",
    "mosaicml_streaming": "MosaicML Streaming",
    "lit_data": "LitData",
    "hf_datasets": "HF datasets",
    "lance_take": "Lance",
    "ray_data": "Ray Data",
}
OURS = ("ours", "normalised")


def tables_of(results: Sequence[Result]) -> dict[str, str]:
    """Name -> Markdown, of all that the results have data for."""
    found = _Found(results)
    makers: dict[str, Callable[[_Found], str]] = {
        "check": _check,
        "local": _local,
        "beside": _beside,
        "s3": _s3,
        "first batch": _first_batch,
        "s3 beside": _s3_beside,
        "ranks": _ranks,
    }
    return {name: table for name, make in makers.items() if (table := make(found))}


def write_into(path: Path, tables: dict[str, str]) -> None:
    """Put each table between `<!-- loader: NAME -->` and `<!-- end -->` in a file."""
    text = path.read_text()
    for name, table in tables.items():
        marker, end = f"<!-- loader: {name} -->\n", "<!-- end -->"
        before, found, after = text.partition(marker)
        assert found, f"{path} has no line {marker!r}"
        text = f"{before}{marker}\n{table}\n\n{end}{after.partition(end)[2]}"
    path.write_text(text)


class _Found:
    """Medians over rounds."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = results

    def sides(self, mode: str) -> list[tuple[str, str]]:
        sides = {(r["module"], r["kind"]): None for r in self.results if r["mode"] == mode}
        return list(sides)

    def median(self, mode: str, side: tuple[str, str], event: str, fact: str) -> float | None:
        values = [
            r["events"][event][fact]
            for r in self.results
            if r["mode"] == mode
            and (r["module"], r["kind"]) == side
            and fact in r["events"].get(event, {})
        ]
        return statistics.median(values) if values else None

    def best(self, mode: str, kind: str, event: str, fact: str, *, least: bool) -> float | None:
        values = [
            value
            for side in self.sides(mode)
            if side[0] not in ("ours", "limit")
            and side[1] == kind
            and (value := self.median(mode, side, event, fact)) is not None
        ]
        return (min if least else max)(values) if values else None


def _check(found: _Found) -> str:
    rows = []
    for r in found.results:
        if r["mode"] != "check":
            continue
        events = r["events"]
        if "failed" in events:
            rows.append([NAMES[r["module"]], *["failed"] * 5])
            continue
        order, shuffled, made = (events[k] for k in ("in order", "shuffled", "documented"))
        rows.append(
            [
                NAMES[r["module"]],
                order["digest"][:8],
                f"{order['num']:,}",
                f"{shuffled['distinct']:,} of {shuffled['num']:,}",
                f"{tuple(made['shape'])} {made['dtype'].removeprefix('torch.')}",
                f"{made['mean']:.3f}, {made['std']:.3f}",
            ]
        )
    head = ["", "all pixels", "images", "distinct, shuffled", "batch", "mean, std of pixels"]
    return _markdown(head, rows)


def _local(found: _Found) -> str:
    kinds = ("documented", "given ours")
    rows = []
    for module in _modules(found, "local"):
        row = [NAMES[module]]
        for kind in kinds if module != "ours" else (OURS[1],):
            side = (module, kind)
            row += [
                _number(found.median("local", side, "alone", "images_per_s")),
                _number(found.median("local", side, "alone", "cpu_us")),
            ]
        row += ["", ""] if module == "ours" else []
        private = found.median("local", (module, OURS[1] if module == "ours" else kinds[0]),
                               "memory", "private_mb")  # fmt: skip
        rows.append([*row, _number(private)])
    head = ["", "images/s", "CPU us/image", "given ours: images/s", "CPU us/image", "memory, MB"]
    lines = [_markdown(head, rows)] if rows else []
    lines += _ratios(found, "local", "alone")
    uint8: list[str] = []
    one, two = (found.median("limit", ("limit", k), "alone", "images_per_s") for k in "12")
    for kind, what in (
        ("uint8 plain", "decoded alone, as a GPU gets it, which varies and normalises it"),
        ("uint8", "varied by the threads, not normalised"),
    ):
        rate, cpu = (
            found.median("local", ("ours", kind), "alone", fact)
            for fact in ("images_per_s", "cpu_us")
        )
        if one and two and rate and cpu:
            uint8.append(
                f"{what}: {rate:,.0f} images/s at {cpu:,.0f} us, {rate / two:.0%} of the limit"
            )
    if uint8:
        lines.append(
            f"The limit, simplejpeg alone: {one:,.0f} images/s in one thread, {two:,.0f} in two. "
            f"Ours in uint8: {'; '.join(uint8)}."
        )
    return "\n\n".join(lines)


def _beside(found: _Found) -> str:
    rows = [
        [
            f"{NAMES[side[0]]}{', given ours' if side[1] == 'given ours' else ''}",
            _number(found.median("local", side, "beside", "images_per_s")),
            _number(found.median("local", side, "beside", "cpu_us")),
            _number(found.median("local", side, "beside", "trained_per_s")),
            _number(found.median("local", side, "fed", "images_per_s")),
        ]
        for side in found.sides("local")
        if not side[1].startswith("uint8")
    ]
    if not rows:
        return ""
    head = [
        "",
        "images/s",
        "CPU us/image",
        "training beside it: images/s",
        "trained on its batches",
    ]
    lines = [_markdown(head, rows), *_ratios(found, "local", "beside")]
    unfed = found.median("local", OURS, "unfed", "images_per_s")
    if unfed:
        lines.append(f"Training on one batch again and again: {unfed:,.0f} images/s.")
    return "\n\n".join(lines)


def _s3(found: _Found) -> str:
    rows = [
        [
            f"{NAMES[side[0]]}{', given ours' if side[1] == 'given ours' else ''}",
            *(
                _number(found.median("s3", side, event, fact))
                for event, fact in (
                    ("cold", "images_per_s"),
                    ("cold", "cpu_us"),
                    ("warm", "images_per_s"),
                    ("warm", "cpu_us"),
                    ("end of epoch", "mb"),
                    ("warm", "mb"),
                    ("end of epoch", "requests"),
                )
            ),
        ]
        for side in found.sides("s3")
    ]
    head = ["", "cold: images/s", "CPU us/image", "warm: images/s", "CPU us/image",
            "MB, one epoch", "MB, with the second", "requests, one epoch"]  # fmt: skip
    if not rows:
        return ""
    ratios = _ratios(found, "s3", "cold") + _ratios(found, "s3", "warm")
    return "\n\n".join([_markdown(head, rows), *ratios])


def _s3_beside(found: _Found) -> str:
    rows = [
        [
            f"{NAMES[side[0]]}{', given ours' if side[1] == 'given ours' else ''}",
            *(
                _number(found.median("s3 beside", side, event, fact))
                for event in ("cold", "warm")
                for fact in ("images_per_s", "cpu_us", "trained_per_s")
            ),
        ]
        for side in found.sides("s3 beside")
    ]
    if not rows:
        return ""
    head = ["", "cold: images/s", "CPU us/image", "training: images/s",
            "warm: images/s", "CPU us/image", "training: images/s"]  # fmt: skip
    ratios = _ratios(found, "s3 beside", "cold") + _ratios(found, "s3 beside", "warm")
    return "\n\n".join([_markdown(head, rows), *ratios])


def _first_batch(found: _Found) -> str:
    rows = [
        [
            f"{NAMES[side[0]]}{', given ours' if side[1] == 'given ours' else ''}",
            *(
                _number(found.median("s3", side, "first batch", fact), digits=digits)
                for fact, digits in (("s", 1), ("after_imports_s", 2), ("mb", 1), ("requests", 0))
            ),
        ]
        for side in found.sides("s3")
    ]
    head = ["", "s from the start of the process", "s with imports paid", "MB", "requests"]
    return _markdown(head, rows) if rows else ""


def _ranks(found: _Found) -> str:
    side = ("ours", "")
    rows = [
        [
            name,
            *(
                _number(found.median("ranks", side, event, fact))
                for fact in ("private_mb", "torch_mb", "files_mb")
            ),
        ]
        for name, event in (("the data set", "ranks"), ("10 times the data", "grown"))
        if found.sides("ranks")
    ]
    head = ["two ranks together", "MB", "of them torch alone", "mapped files, MB"]
    return _markdown(head, rows) if rows else ""


def _ratios(found: _Found, mode: str, event: str) -> list[str]:
    lines = []
    for kind in ("documented", "given ours"):
        ours, best, cpu, least = (
            found.median(mode, OURS, event, "images_per_s"),
            found.best(mode, kind, event, "images_per_s", least=False),
            found.median(mode, OURS, event, "cpu_us"),
            found.best(mode, kind, event, "cpu_us", least=True),
        )
        if ours and best and cpu and least:
            lines.append(
                f"Over the best peer as {kind} ({event}): {ours / best:.2f} times the images/s, "
                f"{cpu / least:.2f} of the least CPU time."
            )
    return lines


def _modules(found: _Found, mode: str) -> list[str]:
    return list(dict.fromkeys(module for module, _ in found.sides(mode)))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None, *, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
