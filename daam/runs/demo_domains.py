"""Render and import the demo's domains."""

import os
from collections.abc import Callable, Sequence
from functools import partial

from daam.dataset.format.manifest import has_domain
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.storage import Store
from daam.storage.scratch import scratch_folder
from daam.synthetic.render import RenderPlan, render_domain

DEMO_DOMAINS = ("plaza", "campus", "station")


def demo_plan(domain: str, *, seed: int) -> RenderPlan:
    """What the demo renders of a domain: about 2,300 images of 240 people and of strangers."""
    return RenderPlan(
        domain=domain,
        seed=seed,
        num_train_identities=180,
        num_test_identities=60,
        num_cameras=4,
        max_images_per_camera=4,
        num_distractors=60,
        num_junk=30,
    )


def prepare_demo(
    store: Store,
    *,
    seed: int,
    domains: Sequence[str] = DEMO_DOMAINS,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Render and import those of the demo's domains that the store lacks or has in an older format.

    Args:
        store: gets the shards; the rendered images themselves are not kept.
        seed: of the renderer.
        domains: other names make other cameras and other people.
        progress: called with the domain, the number of rendered images and their total.

    Returns:
        The domains that were rendered.

    Raises:
        StorageError: the store cannot be reached or is full.
    """
    missing = [domain for domain in domains if not has_domain(store, domain)]
    for domain in missing:
        with scratch_folder() as scratch:
            folder = scratch / domain
            render_domain(
                demo_plan(domain, seed=seed),
                to=folder,
                num_processes=os.cpu_count() or 1,
                progress=None if progress is None else partial(progress, domain),
            )
            import_domain(read_layout("market1501", folder), domain=domain, to=store)
    return missing
