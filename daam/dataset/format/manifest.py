"""The manifest of a domain: which shards it is made of, published after all of them.

It says nothing about identities, not even how many there are: a run that takes the domain as its
unlabelled target reads it too.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from pydantic import TypeAdapter

from daam.documents import Count, MalformedError, Sha256, Share, parse_json, shortened
from daam.domains import VALIDATION_SPLITS, Split, check_domain
from daam.errors import ShardError
from daam.storage import MissingKeyError, Store
from daam.storage.store import NAME_PATTERN

FORMAT = "daam-domain"
VERSION = 3
READABLE_VERSIONS = (2, 3)
MANIFEST_NAME = "manifest.json"


class OutdatedDomainError(ShardError):
    """A domain was imported by an older daam, in a format that is no longer read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A file of a domain: where it is and what its bytes must be."""

    key: str
    num_rows: Count
    size_bytes: Count
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitManifest:
    """The files of one split; row r of index and labels belongs to row r of the shards together.

    Attributes:
        num_cameras: None if the cameras of its images are unknown.
        num_tracks: None if their tracks are unknown.
        has_times: whether their times are known.
        has_identities: whether their identities are known.
    """

    num_rows: Count
    num_cameras: Count | None
    num_tracks: Count | None = None
    has_times: bool = False
    has_identities: bool = True
    shards: tuple[ShardEntry, ...]
    index: ShardEntry
    labels: ShardEntry

    @property
    def files(self) -> tuple[ShardEntry, ...]:
        """All of them."""
        return (*self.shards, self.index, self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings:
    """How a data set was imported: with the same settings it gives the same files again.

    Attributes:
        validation_share: of the train identities, held out.
        without_val: whether the authors' validation list was left out.
        reencoded: (height, width) at which images are stored; None for that of the data set.
        shard_size_bytes: most JPEG bytes in a shard.
        cut_test: share of the identities that were cut out as query and gallery; 0: the data set
            has its own, or none.
        options: of the layout, such as `pattern`, by their names on the command line.
        without_unreadable: whether images that could not be read were left out.
    """

    validation_share: Share
    without_val: bool
    reencoded: tuple[Count, Count] | None
    shard_size_bytes: Count
    cut_test: Share = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    without_unreadable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainManifest:
    """A domain as imported.

    Attributes:
        layout: the layout it was imported from.
        settings: how.
        splits: those the domain has.
        skipped: reason -> how many files of the data set were left out for it.
        cameras: number -> name of each camera, where the data set has names instead of numbers.
    """

    domain: str
    layout: str
    settings: ImportSettings
    splits: Mapping[Split, SplitManifest]
    skipped: Mapping[str, Count]
    cameras: Mapping[int, str] = field(default_factory=dict)

    @property
    def whole_train_splits(self) -> tuple[Split, ...]:
        """The train split, and those that were cut from it for validation, if there are any."""
        return (Split.TRAIN, *(split for split in VALIDATION_SPLITS if split in self.splits))

    @property
    def files(self) -> tuple[ShardEntry, ...]:
        """The files of all splits."""
        return tuple(entry for split in self.splits.values() for entry in split.files)

    def split(self, split: Split) -> SplitManifest:
        """The manifest of one split.

        Raises:
            ShardError: the domain has no such split.
        """
        if split not in self.splits:
            advice = "import a data set that has it"
            if split in VALIDATION_SPLITS:
                advice = (
                    "it is cut from a train split with identities: import one with a "
                    "--validation-share above 0"
                )
            known = ", ".join(self.splits)
            raise ShardError(f"domain {self.domain} has no split {split}, only {known}; {advice}")
        return self.splits[split]

    def shards(self, splits: Sequence[Split]) -> tuple[ShardEntry, ...]:
        """The shards of some splits, in order.

        Raises:
            ShardError: as `split`.
        """
        return tuple(entry for split in splits for entry in self.split(split).shards)

    def digest(self, splits: Sequence[Split], *, with_labels: bool) -> str:
        """The SHA-256 of what some splits are: where it is equal, so is every row.

        It is made from the files' own, and no file is read for it.

        Raises:
            ShardError: as `split`.
        """
        digest = hashlib.sha256()
        for content in map(self.split, splits):
            entries = list(content.shards)
            if content.num_tracks is not None:  # tracks are in the index alone
                entries.append(content.index)
            if with_labels:
                entries.append(content.labels)
            for entry in entries:
                digest.update(bytes.fromhex(entry.sha256))
        return digest.hexdigest()

    def to_json(self) -> bytes:
        """The manifest as it is stored; equal manifests give equal bytes."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"

    @staticmethod
    def from_json(data: bytes, *, domain: str, place: str) -> "DomainManifest":
        """Read a manifest, checking every field.

        Args:
            domain: whose manifest it must be.
            place: where it was read, for messages.

        Raises:
            OutdatedDomainError: it is of an older version.
            ShardError: it is damaged, of a newer version, or of another domain.
        """
        try:
            _check_header(parse_json(data, HEADER), domain=domain, place=place)
            manifest = parse_json(data, MANIFEST)
            _check_files(manifest)
        except MalformedError as error:
            raise ShardError(
                f"{place} is no manifest of domain {domain} that can be used: {error}; rebuild it "
                f"with: daam data import --layout LAYOUT --root FOLDER --domain {domain}"
            ) from error
        splits = {split: manifest.splits[split] for split in Split if split in manifest.splits}
        return replace(manifest, splits=splits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    format: str
    version: Count
    domain: str


HEADER, MANIFEST = TypeAdapter(_Header), TypeAdapter(DomainManifest)


def read_manifest(store: Store, domain: str) -> DomainManifest:
    """Read a domain's manifest.

    Raises:
        ShardError: the store has no such domain, or its manifest cannot be used.
        ConfigError: `domain` can be no domain's name.
        StorageError: the store cannot be read.
    """
    data = stored_manifest(store, domain)
    return DomainManifest.from_json(data, domain=domain, place=store.locate(manifest_key(domain)))


def stored_manifest(store: Store, domain: str) -> bytes:
    """A domain's manifest as it is stored.

    Raises:
        ShardError: the store has no such domain.
        ConfigError, StorageError: as `read_manifest`.
    """
    key = manifest_key(domain)
    try:
        return store.read_document(key)
    except MissingKeyError as error:
        raise ShardError(
            f"{store.uri} has no domain {domain} (no {key}); import it with: daam data "
            f"import --layout LAYOUT --root FOLDER --domain {domain} --to {shlex.quote(store.uri)}"
        ) from error


def has_domain(store: Store, domain: str) -> bool:
    """Whether the store has a domain that can be read, not one of an older format.

    Raises:
        ShardError: its manifest cannot be used for another reason.
        StorageError: the store cannot be read.
    """
    if not store.exists(manifest_key(domain)):
        return False
    try:
        read_manifest(store, domain)
    except OutdatedDomainError:
        return False
    return True


def manifest_key(domain: str) -> str:
    """Where a domain's manifest is.

    Raises:
        ConfigError: it can be no domain's name.
    """
    return f"{check_domain(domain)}/{MANIFEST_NAME}"


def _check_header(header: _Header, *, domain: str, place: str) -> None:
    if header.format == FORMAT and header.version < min(READABLE_VERSIONS):
        raise OutdatedDomainError(
            f"{place} is of version {header.version}, which daam no longer reads; "
            "import it again: daam data import --layout LAYOUT --root FOLDER "
            f"--domain {domain} (shards that are there already are not uploaded again)"
        )
    for name, expected in (("format", FORMAT), ("domain", domain)):
        if (found := getattr(header, name)) != expected:
            raise MalformedError(f"its {name} is {shortened(found)}, not {expected!r}")
    if header.version not in READABLE_VERSIONS:
        raise MalformedError(f"its version is {header.version}, not {VERSION}")


def _check_files(manifest: DomainManifest) -> None:
    for split in manifest.splits.values():
        num_images = sum(entry.num_rows for entry in split.shards)
        if not split.num_rows == num_images == split.index.num_rows == split.labels.num_rows:
            raise MalformedError("the rows of its shards, index or labels do not add up")
    for entry in manifest.files:
        if not re.fullmatch(rf"{manifest.domain}/{NAME_PATTERN}\.arrow", entry.key):
            raise MalformedError(f"{shortened(entry.key)} is no key of one of its shards")
