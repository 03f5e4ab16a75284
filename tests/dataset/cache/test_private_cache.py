"""Other users of the machine can neither see what is cached nor change what is trained on."""

import os
import shlex
import stat
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import ImageTable, open_images
from daam.domains import Split
from daam.errors import StorageError
from daam.storage import open_store
from tests.support.rows_on_s3 import RowsOnS3, put_rows

FOLDERS = ("", "shards", "files", "locks")


@pytest.fixture(scope="module")
def plaza(s3_server: object, tmp_path_factory: pytest.TempPathFactory) -> RowsOnS3:
    """A domain that no test changes."""
    store = open_store("s3://daam-tests/rows-for-a-private-cache")
    return put_rows(store, num_rows=40, folder=tmp_path_factory.mktemp("rows"))


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Files and folders are open to everybody, unless something says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_rows(rows: RowsOnS3, cache: Path) -> ImageTable:
    manifest = read_manifest(rows.store, "plaza")
    return open_images(rows.store, manifest=manifest, splits=[Split.TRAIN], cache=ShardCache(cache))


def fill(rows: RowsOnS3, cache: Path) -> None:
    """Read every image, and find it as it was imported."""
    with open_rows(rows, cache) as images:
        assert images.jpegs(np.arange(rows.num_rows)) == list(rows.jpegs)


def with_checksum(data: bytes, *, checksum: int) -> bytes:
    """The data with other last 4 bytes, so that its CRC-32 is this one."""
    constant = zlib.crc32(data[:-4] + bytes(4))
    basis: dict[int, tuple[int, int]] = {}

    def reduced(effect: int, change: int) -> tuple[int, int]:
        while effect.bit_length() in basis:
            known_effect, known_change = basis[effect.bit_length()]
            effect, change = effect ^ known_effect, change ^ known_change
        return effect, change

    for bit in range(32):
        effect = zlib.crc32(data[:-4] + (1 << bit).to_bytes(4, "little")) ^ constant
        effect, change = reduced(effect, 1 << bit)
        basis[effect.bit_length()] = effect, change
    _, change = reduced(checksum ^ constant, 0)
    return data[:-4] + change.to_bytes(4, "little")


def forge(rows: RowsOnS3, cache: Path) -> Path:
    """Replace an image in the cache so that its checksum is right; return the shard's file."""
    entry = rows.split.shards[0]
    path = cache / "shards" / f"{entry.sha256}.images"
    content = path.read_bytes()
    image = max(rows.jpegs[: entry.num_rows], key=len)
    forged = with_checksum(b"forged" + image[6:], checksum=zlib.crc32(image))
    assert zlib.crc32(forged) == zlib.crc32(image)
    assert forged != image
    path.write_bytes(content.replace(image, forged))
    return path


@pytest.mark.usefixtures("open_umask")
def test_folders_and_files_are_for_their_owner_alone(plaza: RowsOnS3, tmp_path: Path) -> None:
    fill(plaza, tmp_path / "cache")
    paths = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]
    assert {path.suffix for path in paths} >= {".arrow", ".images"}
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_refused_with_the_command_that_mends_it(
    plaza: RowsOnS3, tmp_path: Path, name: str, mode: int
) -> None:
    cache = tmp_path / "cache"
    fill(plaza, cache)
    (cache / name).chmod(mode)
    with pytest.raises(StorageError, match="other users may write to") as caught:
        open_rows(plaza, cache)
    _, _, command = str(caught.value).rpartition(": ")
    assert command == f"chmod go-w {cache / name}"
    subprocess.run(shlex.split(command), check=True)
    fill(plaza, cache)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder_is_refused(
    plaza: RowsOnS3, tmp_path: Path, name: str
) -> None:
    (tmp_path / "target").mkdir()
    link = tmp_path / "cache" / name
    link.parent.mkdir(mode=0o700, exist_ok=True)
    link.symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match=f"{link} is a link"):
        open_rows(plaza, tmp_path / "cache")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_another_user_is_refused(plaza: RowsOnS3, tmp_path: Path, name: str) -> None:
    fill(plaza, tmp_path / "cache")
    os.chown(tmp_path / "cache" / name, 12345, 12345)
    with pytest.raises(StorageError, match=r"not a folder of yours.*data\.cache"):
        open_rows(plaza, tmp_path / "cache")


def test_a_link_in_the_place_of_a_shard_overwrites_nothing(plaza: RowsOnS3, tmp_path: Path) -> None:
    cache, own = tmp_path / "cache", tmp_path / "own"
    fill(plaza, cache)
    for path in (cache / "shards").iterdir():
        own.write_bytes(b"\0" * path.stat().st_size)  # as large, or it would be replaced anyway
        content = own.read_bytes()
        path.unlink()
        path.symlink_to(own)
        fill(plaza, cache)
        assert own.read_bytes() == content
        assert not path.is_symlink()


def test_a_link_in_the_place_of_an_index_is_replaced(plaza: RowsOnS3, tmp_path: Path) -> None:
    cache, own = tmp_path / "cache", tmp_path / "own"
    fill(plaza, cache)
    path = cache / "files" / f"{plaza.split.index.sha256}.arrow"
    path.rename(own)  # with the right bytes, which its owner could change after the check
    path.symlink_to(own)
    fill(plaza, cache)
    assert not path.is_symlink()


def test_a_link_in_the_place_of_a_lock_creates_nothing(plaza: RowsOnS3, tmp_path: Path) -> None:
    fill(plaza, tmp_path / "cache")
    for path in (tmp_path / "cache" / "shards").iterdir():
        path.unlink()  # so that locks are needed
    for path in (tmp_path / "cache" / "locks").iterdir():
        path.unlink()
        path.symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match=r"link, not followed.*locks/"):
        fill(plaza, tmp_path / "cache")
    assert not (tmp_path / "target").exists()


def test_an_image_forged_by_who_may_write_to_its_file_is_not_used(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    fill(plaza, tmp_path)
    path = forge(plaza, tmp_path)
    with pytest.raises(AssertionError):
        fill(plaza, tmp_path)  # in a file of one's own, it is
    path.chmod(0o606)
    fill(plaza, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_an_image_forged_in_a_file_of_another_user_is_not_used(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    fill(plaza, tmp_path)
    path = forge(plaza, tmp_path)
    os.chown(path, 12345, 12345)
    fill(plaza, tmp_path)
    assert path.stat().st_uid == os.getuid()


def test_what_a_killed_download_left_is_removed_by_the_next(
    plaza: RowsOnS3, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir(mode=0o700)
    left = tmp_path / "files" / ".some.arrow.0123456789abcdef.partial"
    left.touch()
    fill(plaza, tmp_path)
    assert not left.exists()
