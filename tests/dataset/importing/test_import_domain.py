"""An import keeps every image as it is, can be repeated, and publishes all or nothing."""

import os
import subprocess
import sys
import textwrap
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.encoding import read_jpeg
from daam.dataset.importing.hold_out import hold_out_validation
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities, read_names
from daam.domains import Split
from daam.errors import ConfigError, DataError
from daam.storage import Store, open_store
from tests.support.files_of_domains import domains_in
from tests.support.known import known
from tests.support.layout_trees import records

SMALL_SHARD = 5_000


def test_every_image_is_stored_with_its_camera_and_identity(
    small_market: Path, store: Store, tmp_path: Path
) -> None:
    index = read_layout("market1501", small_market)
    manifest = import_domain(index, domain="plaza", to=store, shard_size_bytes=SMALL_SHARD)
    assert read_manifest(store, "plaza") == manifest
    assert manifest.skipped == {"not an image file": 3}
    assert len(manifest.splits[Split.TRAIN].shards) > 2
    cache = ShardCache(tmp_path / "cache")
    expected = hold_out_validation(index, share=0.25)
    for split in Split:
        where = {"manifest": manifest, "splits": [split], "cache": cache}
        images = open_images(store, **where)
        rows = zip(read_names(store, **where), read_identities(store, **where), strict=True)
        jpegs = images.jpegs(np.arange(images.num_rows))
        stored = {
            name: (bytes(jpegs[row]), int(known(images.cameras)[row]), int(identity))
            for row, (name, identity) in enumerate(rows)
        }
        assert stored == {
            record.path: (
                (small_market / record.path).read_bytes(),
                record.camera,
                record.identity,
            )
            for record in records(expected, split)
        }


def test_neighbouring_rows_are_strangers(small_market: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)
    manifest = import_domain(index, domain="plaza", to=store, validation_share=0)
    identities = read_identities(
        store, manifest=manifest, splits=[Split.TRAIN], cache=ShardCache(tmp_path / "cache")
    )
    # Sorted by name, 40 of 47 neighbours would be of one identity.
    assert (identities[1:] == identities[:-1]).sum() < 15


def test_the_manifest_reveals_no_identities(small_market: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=store)
    manifest = store.read("plaza/manifest.json").replace(b'"has_identities": true', b"")
    assert b"identit" not in manifest  # that there are any, but not who or how many
    assert b"_c1s1_" not in b"".join(store.read(key) for key in store.list() if "labels" not in key)


def test_importing_again_changes_nothing_and_uploads_nothing(
    small_market: Path, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)

    def state() -> dict[str, tuple[bytes, int]]:
        return {
            key: (store.read(key), (tmp_path / "store" / key).stat().st_mtime_ns)
            for key in store.list()
            if key.endswith(".arrow")
        }

    first = import_domain(index, domain="plaza", to=store, shard_size_bytes=SMALL_SHARD)
    before = state()
    again = import_domain(index, domain="plaza", to=store, shard_size_bytes=SMALL_SHARD)
    assert again.to_json() == first.to_json()
    assert state() == before


@pytest.mark.parametrize("damage", ["shortened", "deleted"])
def test_importing_again_repairs_a_shard(small_market: Path, store: Store, damage: str) -> None:
    index = read_layout("market1501", small_market)
    manifest = import_domain(index, domain="plaza", to=store)
    entry = manifest.splits[Split.TRAIN].shards[0]
    whole = store.read(entry.key)
    if damage == "deleted":
        store.delete(entry.key)
    else:
        store.write(entry.key, whole[:-1])
    import_domain(index, domain="plaza", to=store)
    assert store.read(entry.key) == whole


def test_progress_counts_every_image_once(small_market: Path, tmp_path: Path) -> None:
    index = read_layout("market1501", small_market)
    calls: list[tuple[int, int]] = []
    import_domain(
        index,
        domain="plaza",
        to=open_store(str(tmp_path / "store")),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(done, 90) for done in range(1, 91)]


def test_a_killed_import_leaves_no_domain_and_can_be_repeated(
    small_market: Path, store: Store, tmp_path: Path
) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from daam.dataset.importing.import_domain import import_domain
        from daam.dataset.importing.layouts import read_layout
        from daam.storage import open_store

        def progress(done, total):
            if done == 60:
                os.kill(os.getpid(), signal.SIGKILL)

        import_domain(
            read_layout("market1501", Path({str(small_market)!r})),
            domain="plaza",
            to=open_store({store.uri!r}),
            shard_size_bytes={SMALL_SHARD},
            progress=progress,
        )
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert killed.returncode == -9
    assert store.list("plaza/")
    assert domains_in(store) == []
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=store, shard_size_bytes=SMALL_SHARD)
    assert domains_in(store) == ["plaza"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text", "png"])
def test_a_damaged_image_is_named_and_nothing_is_published(
    small_market: Path, tmp_path: Path, damage: str
) -> None:
    index = read_layout("market1501", small_market)
    path = small_market / records(index, Split.QUERY)[0].path
    data = path.read_bytes()
    png = BytesIO()
    Image.open(path).save(png, "PNG")
    middle = len(data) * 3 // 4
    damaged = {
        "truncated": data[:middle],
        "empty": b"",
        "flipped": data[:middle] + b"\xff\x00\xff\xd9" + data[middle:],
        "text": b"this is no image",
        "png": png.getvalue()[:-40],
    }
    path.write_bytes(damaged[damage])
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(DataError, match=path.name):
        import_domain(index, domain="plaza", to=store)
    assert domains_in(store) == []


def test_a_file_that_vanished_is_named(small_market: Path, tmp_path: Path) -> None:
    index = read_layout("market1501", small_market)
    path = small_market / records(index)[0].path
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        import_domain(index, domain="plaza", to=open_store(str(tmp_path / "store")))


def test_a_name_that_is_no_domain_is_refused(small_market: Path, tmp_path: Path) -> None:
    index = read_layout("market1501", small_market)
    with pytest.raises(ConfigError, match="not a domain name"):
        import_domain(index, domain="../up", to=open_store(str(tmp_path / "store")))


def test_a_jpeg_is_kept_byte_for_byte_whatever_its_suffix(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    data = simplejpeg.encode_jpeg(pixels)
    (tmp_path / "image.png").write_bytes(data)
    assert read_jpeg(tmp_path / "image.png") == data


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_other_formats_become_jpeg_of_nearly_the_same_pixels(
    tmp_path: Path, kind: str, mode: str
) -> None:
    ramp = np.linspace(0, 255, 64 * 32 * 3).reshape(64, 32, 3).astype(np.uint8)
    image = Image.fromarray(ramp).convert(mode)
    image.save(tmp_path / "image.jpg", kind)
    data = read_jpeg(tmp_path / "image.jpg")
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(simplejpeg.decode_jpeg(data).astype(int) - expected).mean() < 4


def test_a_truncated_jpeg_is_refused(small_market: Path) -> None:
    path = next((small_market / "query").glob("*.jpg"))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="Premature end"):
        read_jpeg(path)
