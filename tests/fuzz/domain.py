"""A domain of one split as the writers of daam make it, and with one of its files replaced."""

import hashlib
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import simplejpeg

from daam.dataset.format.manifest import DomainManifest, ImportSettings, ShardEntry, SplitManifest
from daam.dataset.format.shards import index_of, write_image_shards, write_index, write_labels
from daam.domains import Split
from tests.support.arrow_buffers import buffers_of, uncompressed

DOMAIN = "plaza"
NUM_ROWS = 12
NUM_CAMERAS = 3
SHARD, INDEX, LABELS = "shard", "index", "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Its manifest, and the bytes of its files by their kind."""

    manifest: DomainManifest
    files: dict[str, bytes]

    @property
    def split(self) -> SplitManifest:
        """The files in the manifest."""
        return self.manifest.splits[Split.TRAIN]

    def entry(self, kind: str) -> ShardEntry:
        """One of them."""
        return {SHARD: self.split.shards[0], INDEX: self.split.index, LABELS: self.split.labels}[
            kind
        ]

    def with_file(self, kind: str, data: bytes) -> "Domain":
        """The domain with other bytes in a file, and all checksums and sizes made to fit."""
        digest = hashlib.sha256(data).hexdigest()
        entry = replace(
            self.entry(kind),
            key=f"{DOMAIN}/{Split.TRAIN}-{kind}-{digest[:16]}.arrow",
            sha256=digest,
            size_bytes=len(data),
        )
        field, value = {
            SHARD: ("shards", (entry,)),
            INDEX: ("index", entry),
            LABELS: ("labels", entry),
        }[kind]
        split = replace(self.split, **{field: value})
        manifest = replace(self.manifest, splits={Split.TRAIN: split})
        return Domain(manifest=manifest, files=self.files | {kind: data})

    def indexed_anew(self, scratch: Path) -> "Domain":
        """The domain with the index of its shard as it is now, unless it can have none."""
        path = scratch / "shard.arrow"
        path.write_bytes(self.files[SHARD])
        try:
            places = [index_of(path)]
        except ValueError:
            return self
        written = write_index(places, domain=DOMAIN, split=Split.TRAIN, folder=scratch)
        split = replace(self.split, num_tracks=None, has_times=False)
        domain = replace(self, manifest=replace(self.manifest, splits={Split.TRAIN: split}))
        return domain.with_file(INDEX, written.path.read_bytes())

    def write(self, root: Path) -> None:
        """Write its files into a local store that has nothing else of the domain."""
        folder = root / DOMAIN
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for kind, data in self.files.items():
            (root / self.entry(kind).key).write_bytes(data)
        (folder / "manifest.json").write_bytes(self.manifest.to_json())


@cache
def jpegs() -> list[bytes]:
    """The images of the domain."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (NUM_ROWS, 32, 16, 3), dtype=np.uint8)
    return [simplejpeg.encode_jpeg(image, quality=70) for image in pixels]


IDENTITIES = [row // 2 + 1 for row in range(NUM_ROWS)]
NAMES = [f"bounding_box_train/{row // 2:04d}_c{row % 3}_é{row}.jpg" for row in range(NUM_ROWS)]


@cache
def domain() -> Domain:
    """A small domain."""
    with tempfile.TemporaryDirectory(prefix="daam-fuzz-") as name:
        where = {"domain": DOMAIN, "split": Split.TRAIN, "folder": Path(name)}
        images = [(jpeg, row % NUM_CAMERAS) for row, jpeg in enumerate(jpegs())]
        (shard,) = write_image_shards(images, **where, shard_size_bytes=1 << 20)
        index = write_index(
            [index_of(shard.path)],
            **where,
            tracks=pa.chunked_array([pa.array(range(NUM_ROWS), pa.int32())]),
            times=pa.chunked_array([pa.array(range(NUM_ROWS), pa.int64())]),
        )
        labels = write_labels(zip(IDENTITIES, NAMES, strict=True), **where)
        written = {SHARD: shard, INDEX: index, LABELS: labels}
        return Domain(
            manifest=DomainManifest(
                domain=DOMAIN,
                layout="market1501",
                settings=ImportSettings(
                    validation_share=0.25,
                    without_val=False,
                    reencoded=None,
                    shard_size_bytes=1 << 20,
                ),
                splits={
                    Split.TRAIN: SplitManifest(
                        num_rows=NUM_ROWS,
                        num_cameras=NUM_CAMERAS,
                        num_tracks=NUM_ROWS,
                        has_times=True,
                        shards=(shard.entry,),
                        index=index.entry,
                        labels=labels.entry,
                    )
                },
                skipped={"distractor": 3},
                cameras={0: "north"},
            ),
            files={kind: file.path.read_bytes() for kind, file in written.items()},
        )


def samples_of(kind: str) -> list[bytes]:
    """A file of the domain as it is, and without compression, where its offsets can be reached."""
    data = domain().files[kind]
    plain = uncompressed(data)
    return [data] if plain == data else [data, plain]


def offsets_in(data: bytes) -> list[range]:
    """Where edits reach deepest in an Arrow file: its buffers that are not the bytes of images or
    names, and its footer."""
    spans = [
        span
        for (column, buffer), spans in buffers_of(data).items()
        for span in spans
        if (column, buffer) not in (("image", 2), ("name", 2), ("key", 2))
    ]
    return [*spans, range(max(0, len(data) - 400), len(data))]
