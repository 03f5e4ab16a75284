"""However many processes of a node read a shard, and how often: its bytes leave the server once."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from daam.dataset.format.manifest import manifest_key, read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.domains import Split
from daam.storage import open_store
from tests.conftest import BUCKET
from tests.support.fault_proxy import FaultProxy
from tests.support.swift_server import SwiftServer
from tests.support.tiny_domains import write_market

PROGRAM = Path(__file__).parents[1] / "support" / "trials_on_one_node.py"
DOMAINS = ("plaza", "campus")
# So that each split has several.
SHARD_SIZE_BYTES = 25_000


@pytest.mark.timeout(120)
def test_four_trials_of_three_epochs_both_ways_fetch_each_byte_of_a_shard_once(
    swift_server: SwiftServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in swift_server.environment.items():
        monkeypatch.setenv(variable, value)
    prefix = uuid4().hex
    store = open_store(f"s3://{BUCKET}/{prefix}")
    for domain in DOMAINS:
        write_market(tmp_path / domain, name=domain)
        index = read_layout("market1501", tmp_path / domain)
        import_domain(index, domain=domain, to=store, shard_size_bytes=SHARD_SIZE_BYTES)
    manifests = [read_manifest(store, domain) for domain in DOMAINS]
    sent_before = swift_server.bytes_sent()

    with FaultProxy(swift_server.endpoint) as proxy:
        through = f"s3://{BUCKET}/{prefix}?endpoint={proxy.endpoint}"
        command = [sys.executable, str(PROGRAM), through, str(tmp_path / "cache"), *DOMAINS]
        environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
        subprocess.run(command, check=True, timeout=100, env=environment)
        came = {key: count for (_, key), count in proxy.bytes_sent.items() if count}
    sent = swift_server.bytes_sent() - sent_before

    contents = [manifest.split(Split.TRAIN) for manifest in manifests]
    place = f"/{BUCKET}/{prefix}/"
    shards = {place + entry.key: entry.size_bytes for each in contents for entry in each.shards}
    indexes = {place + each.index.key: each.index.size_bytes for each in contents}
    labels = {place + each.labels.key: each.labels.size_bytes for each in contents}
    manifests_read = {place + manifest_key(domain) for domain in DOMAINS}
    # The server's own log says so, and so does the proxy in front of it.
    for account in (sent, came):
        once = {key: num for key, num in account.items() if key not in manifests_read}
        # Both domains have the same people, and so labels of the same bytes: either's will do.
        assert {key: num for key, num in once.items() if key in indexes} == indexes
        assert once.keys() - labels.keys() - indexes.keys() == shards.keys()
        for key, num in shards.items():  # what lies between images is not needed
            assert 0.8 * num < once[key] < num
        assert [num for key, num in once.items() if key in labels] == [min(labels.values())]
