"""The interface of all stores."""

from __future__ import annotations

import builtins
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from daam.errors import ConfigError, StorageError
from daam.storage.atomic import atomic_write

CHUNK_SIZE_BYTES = 1 << 20
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
MAX_NAME_LENGTH = 200
NAME_PATTERN = rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{MAX_NAME_LENGTH - 1}}}"
MAX_DOCUMENT_BYTES = 256 << 20
OUTAGES = "daam.storage.outages"
"""The logger that reports when a store stops answering, and when it answers again."""


class MissingKeyError(StorageError):
    """The store can be reached, but has no such key."""


class Store(ABC):
    """A flat map from keys (`market/manifest.json`) to bytes, under one URI.

    Writes are atomic: a reader sees the old bytes or the new, never a part. Keys are relative,
    with `/` between parts; a key that would leave the store is refused (`check_key`), and so is a
    name given by the user that is no plain name (`folder`). No address is made from either without
    that check. A store is safe to share between threads. It pickles to its URI alone, without
    credentials: the process that unpickles it uses its own.

    Every method raises StorageError, which says what failed, where, and what to do; a missing key
    is a MissingKeyError.
    """

    @property
    @abstractmethod
    def uri(self) -> str:
        """The address for `open_store`, with all settings."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the address: the name of a folder."""

    @abstractmethod
    def locate(self, key: str) -> str:
        """The address of the key, for messages, `open_store` and `open_parent`."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """All bytes under the key."""

    @abstractmethod
    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes under the key in order, in chunks of at most a few MiB."""

    @abstractmethod
    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        """Exactly `size` bytes from byte `start`; a key that ends earlier is an error."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Publish the bytes under the key, replacing what was there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Publish the bytes unless the key exists; return whether they were published.

        S3 servers without conditional writes replace them and return True.
        """

    @abstractmethod
    def upload(self, path: Path, key: str) -> None:
        """Publish the bytes of a local file under the key."""

    @abstractmethod
    def versions(self, prefix: str = "") -> dict[str, str]:
        """All keys that start with the prefix (a plain string), sorted, each with its version.

        A version is a string that changes when the bytes under the key are replaced.
        """

    def list(self, prefix: str = "") -> list[str]:
        """All keys that start with the prefix (a plain string), sorted; there may be none."""
        return [*self.versions(prefix)]

    @abstractmethod
    def size(self, key: str) -> int:
        """Number of bytes under the key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the key; a missing one is no error."""

    def remove_unfinished(self) -> builtins.list[str]:
        """Remove what writers that were killed have left, and return its names.

        An object store has nothing of the kind: what was not sent whole is no object there.
        """
        return []

    @abstractmethod
    def child(self, prefix: str) -> Store:
        """The store of all keys below `prefix/`."""

    def folder(self, name: str, *, of: str) -> Store:
        """The store of a run or study, directly below this one.

        Args:
            name: given by the user.
            of: what it names, for the message.

        Raises:
            ConfigError: as `check_name`.
        """
        return self.child(check_name(name, of=of))

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """The file that holds the key on this machine, for memory-mapping; None if remote."""

    def download(self, key: str, path: Path) -> None:
        """Copy the bytes under the key to a local file, atomically."""
        atomic_write(path, self.chunks(key))

    def read_document(self, key: str) -> bytes:
        """All bytes under the key of a document; a file of any size does not fill the memory.

        Raises:
            StorageError: there are more than 256 MiB, or it cannot be read.
        """
        content = bytearray()
        for chunk in self.chunks(key):
            content += chunk
            if len(content) > MAX_DOCUMENT_BYTES:
                raise StorageError(
                    f"{self.locate(key)} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB, and only a "
                    "small file is expected there; restore it from a backup"
                )
        return bytes(content)

    def exists(self, key: str) -> bool:
        """Whether there is anything under the key."""
        try:
            self.size(key)
        except MissingKeyError:
            return False
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def __str__(self) -> str:
        return self.uri


def check_key(key: str) -> str:
    """Return the key if it stays inside its store.

    Raises:
        StorageError: it is empty or absolute, or has empty, `.` or `..` parts, a backslash or
            control characters.
    """
    parts = key.split("/")
    is_relative = not any(part in ("", ".", "..") for part in parts)
    if not is_relative or "\\" in key or CONTROL_CHARACTERS.search(key):
        raise StorageError(
            f"{key!r} cannot be a key; use relative names with / between them, without .. or \\"
        )
    return key


def check_name(name: str, *, of: str) -> str:
    """Return the name of a run or study if every store can have a folder of that name.

    Raises:
        ConfigError: it is empty, longer than 200 characters, begins with neither a letter nor a
            digit, or has other characters than these and `.`, `_`, `+`, `-`.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(
            f"{name[:MAX_NAME_LENGTH]!r} cannot be the name of a {of}; use up to {MAX_NAME_LENGTH} "
            "letters, digits, ., _, + and -, a letter or digit first"
        )
    return name


def check_prefix(prefix: str) -> str:
    """Return the prefix, which may be empty or end in the middle of a name.

    Raises:
        StorageError: no valid key can start with it.
    """
    if prefix:
        check_key(prefix + "x")
    return prefix


def check_range(*, start: int, size: int) -> None:
    """Refuse a range that no file can have.

    Raises:
        ValueError: a negative start or size.
    """
    if start < 0 or size < 0:
        raise ValueError(f"{size} bytes from byte {start} is not a valid range")
