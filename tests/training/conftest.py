"""Three tiny domains, imported once, and runs between them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from daam.config.schema import RunConfig
from daam.storage import open_store
from tests.support.tiny_domains import add_domain
from tests.support.tiny_runs import tiny_config


@pytest.fixture(scope="session")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with the domains plaza, campus and station; not to be changed."""
    folder = tmp_path_factory.mktemp("domains")
    store = open_store(str(folder / "store"))
    for name in ("plaza", "campus", "station"):
        add_domain(store, name, scratch=folder)
    return folder / "store"


@pytest.fixture(scope="session")
def config_of(domains: Path) -> Callable[..., RunConfig]:
    """Settings of a tiny run, see `tests.support.tiny_runs.tiny_config`."""
    return partial(tiny_config, domains)


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Networks this small lose by sharing their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
