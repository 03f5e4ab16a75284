"""Every wrong byte of a stored domain is found and named, and so is what lies beside it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg

from daam.dataset.format.manifest import DomainManifest, ImportSettings, read_manifest
from daam.dataset.format.shards import (
    DIGEST_DIGITS,
    index_of,
    write_image_shards,
    write_index,
)
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.maintenance.verify import FileCheck, repair_commands, verify_domain
from daam.domains import Split
from daam.storage import Store
from tests.support.arrow_buffers import NUMBERS, OFFSETS, overwritten, uncompressed
from tests.support.files_of_domains import replaced, replaced_bytes

# A JPEG of 8 x 8 pixels whose header claims 65280 x 65280.
_SMALL = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
HUGE = _SMALL.replace(b"\x08\x00\x08\x00\x08\x03", b"\x08\xff\x00\xff\x00\x03")


@pytest.fixture
def plaza(small_market: Path, store: Store) -> Store:
    index = read_layout("market1501", small_market)
    import_domain(index, domain="plaza", to=store, shard_size_bytes=10_000)
    return store


def checks(store: Store) -> list[FileCheck]:
    return list(verify_domain(store, read_manifest(store, "plaza")))


def problems(store: Store) -> dict[str, str]:
    return {check.key: check.problem for check in checks(store) if check.problem}


def test_a_whole_domain_has_no_problem_and_every_byte_of_it_is_read(plaza: Store) -> None:
    calls: list[tuple[int, int]] = []
    manifest = read_manifest(plaza, "plaza")
    found = list(
        verify_domain(plaza, manifest, progress=lambda done, total: calls.append((done, total)))
    )
    assert {check.key for check in found} == set(plaza.list()) - {"plaza/manifest.json"}
    total = sum(plaza.size(check.key) for check in found)
    assert sum(check.size_bytes for check in found) == total
    assert calls[-1] == (total, total)
    assert calls == sorted(calls)
    assert [check.problem for check in found] == [None] * len(found)


@pytest.mark.parametrize("part", ["gallery-00001", "gallery-index", "gallery-labels"])
@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_a_flipped_bit_is_found_wherever_it_is(plaza: Store, part: str, position: float) -> None:
    key = next(iter(plaza.list(f"plaza/{part}")))
    data = bytearray(plaza.read(key))
    data[int(position * (len(data) - 1))] ^= 1
    plaza.write(key, bytes(data))
    assert problems(plaza) == {
        key: "is damaged: its bytes do not match the checksum in the manifest"
    }


def test_missing_and_shortened_files_are_problems_of_those_files(plaza: Store) -> None:
    missing, short = plaza.list("plaza/train-0")[:2]
    plaza.delete(missing)
    size_bytes = plaza.size(short)
    plaza.write(short, plaza.read(short)[:-1])
    assert problems(plaza) == {
        missing: "is missing",
        short: f"is damaged: it has {size_bytes - 1:,} bytes, not {size_bytes:,}",
    }


def change(column: str, value: int) -> Callable[[pa.Table], pa.Table]:
    """Set the first row's value of a column."""

    def edit(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(column)
        values = [value, *table[column].to_pylist()[1:]]
        field = table.schema.field(place)
        return table.set_column(place, field, pa.array(values, field.type))

    return edit


@pytest.mark.parametrize(
    ("part", "edit", "problem"),
    [
        ("labels", change("row", 7), "has rows that are not numbered consecutively from 0"),
        ("labels", change("identity", -2), "has identities below -1"),
        ("00000", change("row", 7), "has rows that are not numbered consecutively from 0"),
        ("00000", change("camera", 3), "has other images or cameras than its split's index says"),
    ],
)
def test_files_with_the_right_checksum_must_agree_with_each_other(
    plaza: Store, part: str, edit: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    manifest = read_manifest(plaza, "plaza")
    old = next(iter(plaza.list(f"plaza/query-{part}")))
    key = replaced(plaza, manifest, key=old, edit=edit)
    assert problems(plaza) == {key: problem}


@pytest.mark.parametrize("part", ["labels", "index", "00000"])
def test_a_file_with_the_right_checksum_and_hostile_content_is_found(
    plaza: Store, part: str
) -> None:
    manifest = read_manifest(plaza, "plaza")
    old = next(iter(plaza.list(f"plaza/query-{part}")))
    data = uncompressed(plaza.read(old))
    column, buffer = {"labels": ("name", OFFSETS), "index": ("offset", NUMBERS)}.get(
        part, ("image", OFFSETS)
    )
    hostile = overwritten(data, column=column, buffer=buffer, at=8, value=b"\xff\xff\xff\x7f")
    key = replaced_bytes(plaza, manifest, key=old, data=hostile)
    problem = problems(plaza)[key]
    assert problem.startswith("has the right checksum, but cannot be used: ")


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (b"no image", "not an image"),
        (b"", "an empty file"),
        (HUGE, "65280 x 65280 pixels; the most are"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_found(
    plaza: Store, tmp_path: Path, image: bytes, problem: str
) -> None:
    manifest = read_manifest(plaza, "plaza")
    content = json.loads(manifest.to_json())
    split = content["splits"]["query"]
    written = write_image_shards(
        [(image, 1)] * split["num_rows"],
        domain="plaza",
        split=Split.QUERY,
        folder=tmp_path,
        shard_size_bytes=1 << 20,
    )
    (shard,) = written
    index = write_index([index_of(shard.path)], domain="plaza", split=Split.QUERY, folder=tmp_path)
    for file in (shard, index):
        plaza.write(file.entry.key, file.path.read_bytes())
    split |= {"shards": [asdict(shard.entry)], "index": asdict(index.entry), "num_cameras": 1}
    plaza.write("plaza/manifest.json", json.dumps(content).encode())
    (found,) = problems(plaza).items()
    assert found[0] == shard.entry.key
    assert found[1].startswith(f"has an image in row 0 that cannot be decoded: {problem}")


@pytest.mark.parametrize(("column", "value"), [("offset", 8), ("size", 1), ("crc32", 1)])
def test_an_index_that_differs_from_a_shard_is_found(plaza: Store, column: str, value: int) -> None:
    manifest = read_manifest(plaza, "plaza")
    replaced(
        plaza,
        manifest,
        key=next(iter(plaza.list("plaza/query-index"))),
        edit=change(column, value),
    )
    first = manifest.splits["query"].shards[0].key  # type: ignore[index]
    assert problems(plaza) == {
        first: "has other images or cameras than its split's index says",
    }


def test_a_number_of_cameras_that_is_wrong_is_found(plaza: Store) -> None:
    content: dict[str, Any] = json.loads(plaza.read("plaza/manifest.json"))
    content["splits"]["query"]["num_cameras"] = 4
    plaza.write("plaza/manifest.json", json.dumps(content).encode())
    assert problems(plaza) == {
        content["splits"]["query"]["index"]["key"]: "has 3 cameras, its manifest says 4 cameras"
    }


def test_a_file_under_another_name_is_found(plaza: Store) -> None:
    content: dict[str, Any] = json.loads(plaza.read("plaza/manifest.json"))
    entry = content["splits"]["query"]["labels"]
    data = plaza.read(entry["key"])
    entry["key"] = f"plaza/query-labels-{'0' * DIGEST_DIGITS}.arrow"
    plaza.write(entry["key"], data)
    plaza.write("plaza/manifest.json", json.dumps(content).encode())
    assert problems(plaza) == {entry["key"]: "does not carry its own checksum in its name"}


def test_the_repair_commands_repeat_all_settings_of_the_import() -> None:
    manifest = DomainManifest(
        domain="msmt",
        layout="msmt17",
        settings=ImportSettings(
            validation_share=0.3, without_val=True, reencoded=(256, 128), shard_size_bytes=1 << 20
        ),
        splits={},
        skipped={},
    )
    assert repair_commands(manifest, at="s3://b/my data") == (
        "daam data import --layout msmt17 --root FOLDER --domain msmt "
        "--to 's3://b/my data' --recheck --validation-share 0.29999999999999999 --shard-mib 1 "
        "--without-val --reencode 256x128",
        "daam data copy --domain msmt --from STORE --to 's3://b/my data' --recheck",
    )
