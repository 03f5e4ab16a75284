"""`launch.py data import` to a real S3 server, killed half-way, resumes when run again."""

from pathlib import Path

import pytest

from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.maintenance.verify import verify_domain
from daam.storage import open_store
from daam.storage.local_s3 import LocalS3
from tests.support.commands import started
from tests.support.fault_proxy import FaultProxy, Rule
from tests.support.files_of_domains import domains_in
from tests.support.tiny_domains import write_market

SLOWLY_STORED = Rule(methods=("PUT",), latency_s=0.3)


def put(proxy: FaultProxy, *, to: str) -> set[str]:
    """The keys that were uploaded to a store through a proxy."""
    start = to.removeprefix("s3:/") + "/"
    return {
        path.removeprefix(start)
        for method, path in proxy.requests
        if method in ("PUT", "POST") and path.startswith(start)
    }


def test_a_killed_import_uploads_only_what_is_missing_and_reports_all_of_it(
    s3_server: LocalS3, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "raw"
    write_market(root, name="plaza")
    (root / "query" / "Thumbs.db").touch()
    query = sorted((root / "query").glob("*.jpg"))[0]
    (root / "bounding_box_test" / "0014_c2s1_000999_00.jpg").write_bytes(query.read_bytes())
    words = ("data", "import", "--layout", "market1501", "--root", str(root), "--domain", "plaza")
    words = (*words, "--shard-mib", "0.00976562", "--to", s3_uri)
    store = open_store(s3_uri)

    with FaultProxy(s3_server.endpoint, rule=SLOWLY_STORED) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with started(*words, scratch=tmp_path / "first") as command:
            command.until(lambda: len(put(proxy, to=s3_uri)) > 4)
            command.process.kill()
            command.process.wait()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    stored = set(store.list())
    assert len(stored) >= 3
    assert domains_in(store) == []

    with FaultProxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with started(*words, scratch=tmp_path / "second") as command:
            again = command.finished()
        uploaded = put(proxy, to=s3_uri)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    assert again.code == 0, again.err
    manifest = read_manifest(store, "plaza")
    files = {entry.key for entry in manifest.files}
    assert len(files) > len(stored)
    assert stored <= files
    assert uploaded == files - stored | {"plaza/manifest.json"}
    assert f"{len(stored)} were there already" in again.out
    assert "skipped 1, not an image file: query/Thumbs.db" in again.out
    assert "gallery images that repeat a query byte for byte: 1 (" in again.out
    assert not any(check.problem for check in verify_domain(store, manifest))

    whole = open_store(str(tmp_path / "whole"))
    import_domain(
        read_layout("market1501", root),
        domain="plaza",
        to=whole,
        shard_size_bytes=manifest.settings.shard_size_bytes,
    )
    assert whole.read("plaza/manifest.json") == store.read("plaza/manifest.json")
