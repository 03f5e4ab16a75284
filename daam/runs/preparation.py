"""Checks before a run or study starts: its domains exist, with the splits it reads."""

import shlex
from collections.abc import Callable, Mapping, Set

from daam.config.schema import RunConfig
from daam.dataset.format.manifest import (
    MANIFEST_NAME,
    has_domain,
    manifest_key,
    read_manifest,
)
from daam.domains import Split
from daam.errors import ConfigError
from daam.runs.demo_domains import DEMO_DOMAINS, prepare_demo
from daam.storage import open_store

DEFAULT_ROOT = RunConfig().data.root
DEMO_SEED = 1


def prepare_domains(
    config: RunConfig,
    needed: Mapping[str, Set[Split]],
    *,
    progress: Callable[[str, int, int], None],
) -> list[str]:
    """Check that domains exist; render the demo's if the default folder lacks them.

    Args:
        config: its `data.root` holds the domains.
        needed: the splits that each domain must have.
        progress: called with the domain being rendered, its images done and in total.

    Returns:
        The domains that were rendered.

    Raises:
        DaamError: another domain is missing, or has no such split.
    """
    root = config.data.root
    store = open_store(root)
    rendered: list[str] = []
    if root == DEFAULT_ROOT and needed.keys() <= set(DEMO_DOMAINS):
        if not all(has_domain(store, domain) for domain in needed):
            rendered = prepare_demo(store, seed=DEMO_SEED, progress=progress)
    elif missing := sorted(domain for domain in needed if not store.exists(manifest_key(domain))):
        found = {key.split("/")[0] for key in store.list("") if key.endswith(f"/{MANIFEST_NAME}")}
        known = ", ".join(sorted(found)) or "none"
        raise ConfigError(
            f"{root} has no domain {', '.join(missing)}, only {known}; "
            f"import it: daam data import --layout LAYOUT --root FOLDER --domain {missing[0]} "
            f"--to {shlex.quote(root)} (LAYOUT is market1501, or folder for crops without labels)"
        )
    for domain, splits in needed.items():
        manifest = read_manifest(store, domain)
        for split in sorted(splits):
            manifest.split(split)
    return rendered
