"""A run's model card, Markdown: what it learnt from, how good it is known to be, its limits.

After Mitchell et al. 2019 (arXiv:1810.03993). It says only what the run's folder says.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from daam import __version__
from daam.config.reference import changed_settings
from daam.config.schema import RunConfig
from daam.dataset.format.manifest import DomainManifest, read_manifest
from daam.domains import Split
from daam.errors import DaamError
from daam.runs.results import Kind, read_results
from daam.runs.run_folder import CONFIG, SCORES, open_run, read_reports, trained
from daam.storage import Store, open_store

CARD = "card.md"
WHERE = frozenset({"data.root", "data.cache", "data.cache_gb", "transfer"})
LABEL_FREE = {
    "num_groups": "groups among the target's images",
    "outlier_share": "share of images in no group",
    "silhouette": "silhouette of the groups",
    "probe_shared": "accuracy of a domain probe on shared features (.5 is best)",
}
LIMITS = """\
- It tells whether two crops look like the same person in the same clothes. It recognises nobody
  after a change of clothes, and it is no proof of identity: a match is a suggestion for a person
  to check.
- Scores hold for the domain that they were measured on. Other cameras, seasons, crowds and crop
  sizes shift them, and a threshold has to be measured again.
- Error rates may differ between groups of people. Nothing here has measured that; users of
  the model have to.
- Scores without labels can be fooled, most of all by groups that are cameras instead of people:
  look at the sheets that `daam evaluate` draws."""
CONSENT = """\
Images of people are personal data, and so are embeddings made from them. Process them only with a
legal basis, tell the people, keep no more than is needed and delete it in time. Many places
forbid or restrict identifying people in public by machine. This card does not know on what basis
the images were taken: add it before you pass the model on."""


def write_card(folder: Store) -> None:
    """Write `card.md` into a run's folder, from what is there now.

    Raises:
        DaamError: there is no run in the folder, a file of it is damaged, or it cannot be written.
    """
    folder.write(CARD, card_text(folder).encode())


def card_text(folder: Store) -> str:
    """The card of the run in a folder; domains that cannot be read any more are only named.

    Raises:
        DaamError: there is no run in the folder, or a file of it is damaged.
    """
    config = settings_of(folder)
    reports = read_reports(folder)
    lines = [
        f"# Model card: {folder.name}",
        "",
        "Embeds crops of people so that those of one person lie close together. A Domain Adaptive "
        "Attention Model,",
        f"trained with daam {__version__} on `{config.transfer}`: "
        f"{len(reports)} of {config.num_epochs} epochs, backbone "
        f"{config.model.backbone}, crops of {config.data.height} x {config.data.width}.",
        "",
        "## Data",
        "",
        *_table(("domain", "role", "images", "cameras", "imported from"), _data(config)),
        "",
        "## How good it is",
        "",
        *_scores(folder, reports),
        "",
        "## Limits",
        "",
        LIMITS,
        "",
        "## Consent",
        "",
        CONSENT,
        "",
        "## Settings",
        "",
        "Those that differ from daam's defaults; `config.toml` in the run's folder has all.",
        "",
        *_table(("setting", "value"), _changed(config)),
    ]
    return "\n".join(lines) + "\n"


def settings_of(folder: Store) -> RunConfig:
    """The settings of the run in a folder, or, where it has none, those in its checkpoint.

    Raises:
        DaamError: it has neither, or they are damaged.
    """
    return open_run(folder) if folder.exists(CONFIG) else trained(folder.uri)[0]


def results_in_words(folder: Store) -> list[str]:
    """What evaluations found out about a run, a line each.

    Raises:
        DaamError: the folder cannot be read, or holds no run.
    """
    sources = settings_of(folder).pair().sources
    return [
        IN_WORDS[kind](domain, document)
        + (
            f" ({domain} is a source of this run, so this says nothing about other cameras.)"
            if domain in sources
            else ""
        )
        for (domain, kind), document in sorted(read_results(folder).items())
    ]


def _data(config: RunConfig) -> Iterator[tuple[str, ...]]:
    store = open_store(config.data.root)
    for name in config.domains():
        is_target = name == config.pair().target
        role = "target, without labels" if is_target else "source, with labels"
        if config.data.oracle_labels:
            role = "learnt from with labels"
        try:
            manifest = read_manifest(store, name)
        except DaamError:
            yield name, role, "not readable when this was written", "", ""
        else:
            yield name, role, f"{_num_images(manifest):,}", _cameras(manifest), manifest.layout


def _num_images(manifest: DomainManifest) -> int:
    tested = (Split.QUERY, Split.GALLERY)
    return sum(part.num_rows for split, part in manifest.splits.items() if split not in tested)


def _cameras(manifest: DomainManifest) -> str:
    known = [part.num_cameras for part in manifest.splits.values() if part.num_cameras is not None]
    return str(max(known)) if known else "unknown"


def _scores(folder: Store, reports: list[dict[str, Any]]) -> Iterator[str]:
    results = results_in_words(folder)
    if folder.exists(SCORES):
        yield f"- Test after training: `{SCORES}`."
    yield from (f"- {line}" for line in results)
    if not results and not folder.exists(SCORES):
        yield (
            "Nothing was measured yet: `daam evaluate` tests it, with or without labels, and "
            "`daam label` asks a person."
        )
    if reports:
        last = reports[-1]
        rows = [
            (meaning, f"{last[f'diagnostic/{name}']:.3g}")
            for name, meaning in LABEL_FREE.items()
            if f"diagnostic/{name}" in last
        ]
        if rows:
            yield from ("", "Without labels, after the last epoch:", "")
            yield from _table(("", ""), rows)


def _scores_in_words(domain: str, found: Mapping[str, Any]) -> str:
    calibration = found.get("calibration") or {}
    text = (
        f"Labelled test on {domain}: mAP {found['mean_average_precision']:.3f}, rank-1 "
        f"{found['cmc']['1']:.3f} over {found['num_queries'] - found['num_left_out']} queries."
    )
    if calibration.get("threshold") is None:
        return f"{text} No threshold could be measured."
    return (
        f"{text} Threshold {calibration['threshold']:.4f} (cosine distance) for a false-match rate "
        f"of {calibration['false_match_rate']:g}."
    )


def _labelled_in_words(domain: str, found: Mapping[str, Any]) -> str:
    rate, threshold = found["error_rate"], found["threshold"]
    asked = found["num_same"] + found["num_different"]
    text = (
        f"{asked} pairs of {domain} answered by a person: the nearest image is the same person in "
        f"{1 - rate['value']:.0%} ({1 - rate['high']:.0%} to {1 - rate['low']:.0%})."
    )
    if not threshold["value"]:
        return text
    return (
        f"{text} Threshold {threshold['value']:.4f} ({threshold['low']:.4f} to "
        f"{threshold['high']:.4f}, cosine distance) for {found['allowed']:.0%} wrong."
    )


def _assessment_in_words(domain: str, found: Mapping[str, Any]) -> str:
    return f"Assessed without labels on {domain}: {found.get('summary', 'see the file')}"


IN_WORDS: Mapping[Kind, Any] = {
    "scores": _scores_in_words,
    "labelled": _labelled_in_words,
    "assessment": _assessment_in_words,
}


def _changed(config: RunConfig) -> Iterator[tuple[str, ...]]:
    for known, value in changed_settings(config):
        if known.path not in WHERE:
            yield f"`{known.path}`", f"{value}"


def _table(header: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
