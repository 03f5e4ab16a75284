"""The manifest of a domain: which shards it is made of, published after all of them.

It says nothing about identities, not even how many there are: a run that takes the domain as its
unlabelled target reads it too.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self, TypeVar

from daam.domains import VALIDATION_SPLITS, Split, check_domain
from daam.errors import ShardError
from daam.storage import MissingKeyError, Store

FORMAT = "daam-domain"
VERSION = 3
READABLE_VERSIONS = (2, 3)
MANIFEST_NAME = "manifest.json"

T = TypeVar("T")


class OutdatedDomainError(ShardError):
    """A domain was imported by an older daam, in a format that is no longer read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A file of a domain: where it is and what its bytes must be."""

    key: str
    num_rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitManifest:
    """The files of one split; row r of index and labels belongs to row r of the shards together.

    Attributes:
        num_cameras: None if the cameras of its images are unknown.
        num_tracks: None if their tracks are unknown.
        has_times: whether their times are known.
        has_identities: whether their identities are known.
    """

    num_rows: int
    num_cameras: int | None
    num_tracks: int | None = None
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
    """

    validation_share: float
    without_val: bool
    reencoded: tuple[int, int] | None
    shard_size_bytes: int
    cut_test: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


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
    skipped: Mapping[str, int]
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

    @classmethod
    def from_json(cls, data: bytes, *, domain: str, place: str) -> Self:
        """Read a manifest, checking every field.

        Args:
            domain: whose manifest it must be.
            place: where it was read, for messages.

        Raises:
            OutdatedDomainError: it is of an older version.
            ShardError: it is damaged, of a newer version, or of another domain.
        """
        try:
            content = _checked(json.loads(data), dict)
            version = _checked(content["version"], int)
            if content["format"] == FORMAT and version < min(READABLE_VERSIONS):
                raise OutdatedDomainError(
                    f"{place} is of version {version}, which daam no longer reads; "
                    "import it again: daam data import --layout LAYOUT --root FOLDER "
                    f"--domain {domain} (shards that are there already are not uploaded again)"
                )
            _check_header(content, domain=domain)
            return cls(
                domain=domain,
                layout=_checked(content["layout"], str),
                settings=_settings_from(content["settings"]),
                splits=_splits_from(content["splits"], domain=domain),
                skipped={
                    reason: _checked(count, int)
                    for reason, count in _checked(content["skipped"], dict).items()
                },
                cameras={
                    int(number): _checked(name, str)
                    for number, name in _checked(content.get("cameras", {}), dict).items()
                },
            )
        except KeyError as error:
            problem = f"{error} is missing"
            cause: Exception = error
        except (ValueError, TypeError) as error:
            problem = str(error)
            cause = error
        raise ShardError(
            f"{place} is no manifest of domain {domain} that can be used: {problem}; rebuild it "
            f"with: daam data import --layout LAYOUT --root FOLDER --domain {domain}"
        ) from cause


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
        return store.read(key)
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


def _check_header(content: Mapping[str, object], *, domain: str) -> None:
    for name, expected in (("format", FORMAT), ("domain", domain)):
        if content[name] != expected:
            raise ValueError(f"its {name} is {content[name]!r}, not {expected!r}")
    if content["version"] not in READABLE_VERSIONS:
        raise ValueError(f"its version is {content['version']!r}, not {VERSION!r}")


def _settings_from(content: object) -> ImportSettings:
    fields = _checked(content, dict)
    size = fields["reencoded"]
    if size is not None:
        height, width = (_checked(side, int) for side in _checked(size, list))
        size = (height, width)
    return ImportSettings(
        validation_share=_checked(fields["validation_share"], float),
        without_val=_flag("without_val", fields["without_val"]),
        reencoded=size,
        shard_size_bytes=_checked(fields["shard_size_bytes"], int),
        cut_test=_checked(fields.get("cut_test", 0.0), float),
        options={
            name: _checked(value, str)
            for name, value in _checked(fields.get("options", {}), dict).items()
        },
    )


def _splits_from(content: object, *, domain: str) -> dict[Split, SplitManifest]:
    by_split = {
        Split(name): _split_from(fields, domain=domain)
        for name, fields in _checked(content, dict).items()
    }
    return {split: by_split[split] for split in Split if split in by_split}


def _split_from(content: object, *, domain: str) -> SplitManifest:
    fields = _checked(content, dict)
    shards = tuple(_entry_from(entry, domain=domain) for entry in _checked(fields["shards"], list))
    index = _entry_from(fields["index"], domain=domain)
    labels = _entry_from(fields["labels"], domain=domain)
    num_rows = _checked(fields["num_rows"], int)
    num_images = sum(entry.num_rows for entry in shards)
    if not num_rows == num_images == index.num_rows == labels.num_rows:
        raise ValueError("the rows of its shards, index or labels do not add up")
    return SplitManifest(
        num_rows=num_rows,
        num_cameras=_count_or_none(fields["num_cameras"]),
        num_tracks=_count_or_none(fields.get("num_tracks")),
        has_times=_flag("has_times", fields.get("has_times", False)),
        has_identities=_flag("has_identities", fields.get("has_identities", True)),
        shards=shards,
        index=index,
        labels=labels,
    )


def _entry_from(content: object, *, domain: str) -> ShardEntry:
    fields = _checked(content, dict)
    entry = ShardEntry(
        key=_checked(fields["key"], str),
        num_rows=_checked(fields["num_rows"], int),
        size_bytes=_checked(fields["size_bytes"], int),
        sha256=_checked(fields["sha256"], str),
    )
    if not re.fullmatch(rf"{re.escape(domain)}/[^/]+\.arrow", entry.key):
        raise ValueError(f"{entry.key!r} is no key of one of its shards")
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise ValueError(f"{entry.sha256!r} is no SHA-256")
    return entry


def _count_or_none(value: object) -> int | None:
    return None if value is None else _checked(value, int)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, not true or false")
    return value


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not of the type {kind.__name__}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"{value} is below 0")
    return value
