"""Labs of hosts, where the machine can have them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.runs.demo_domains import DEMO_DOMAINS, demo_plan
from daam.storage import open_store
from daam.synthetic.render import render_domain
from tests.cluster.hosts.lab import Lab, missing
from tests.support.tiny_domains import HEIGHT as TINY_HEIGHT
from tests.support.tiny_domains import TINY_RUN
from tests.support.tiny_domains import WIDTH as TINY_WIDTH

HEIGHT, WIDTH = 48, 24
reason_against = cache(missing)


@pytest.fixture(scope="module")
def start_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Starts labs that end with the module's tests; skips where there can be none."""
    if reason := reason_against():
        pytest.skip(reason)
    with ExitStack() as stack:
        yield lambda *, num_hosts: stack.enter_context(
            Lab(tmp_path_factory.mktemp("lab"), num_hosts=num_hosts)
        )


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rendered domains plaza, campus and station: hard enough to tell runs apart.

    On the tiny domains of the other tests every run scores 1.
    """
    folder = tmp_path_factory.mktemp("rendered")
    store = open_store(str(folder / "domains"))
    for domain in DEMO_DOMAINS:
        plan = replace(
            demo_plan(domain, seed=1),
            num_train_identities=24,
            num_test_identities=12,
            num_cameras=3,
            num_distractors=0,
            num_junk=0,
            height=HEIGHT,
            width=WIDTH,
        )
        images = folder / "images" / domain
        render_domain(plan, to=images, num_processes=1)
        import_domain(read_layout("market1501", images), domain=domain, to=store)
    return folder / "domains"


@pytest.fixture(scope="session")
def settings() -> str:
    """The settings of a run on those domains, as a settings file has them."""
    size = f"height = {HEIGHT}\nwidth = {WIDTH}\n"
    return TINY_RUN.replace(f"height = {TINY_HEIGHT}\nwidth = {TINY_WIDTH}\n", size)
