"""Both kinds of store, empty, so that one set of tests holds for both."""

from pathlib import Path
from uuid import uuid4

import pytest

from daam.storage import Store, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(str(tmp_path / "store"))
    server = request.getfixturevalue("s3_server")
    return open_store(f"{server.make_bucket(f'bucket-{uuid4().hex[:8]}')}/some/prefix")
