"""A local folder as a store."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daam.errors import StorageError
from daam.storage.atomic import (
    TEMPORARY_SUFFIX,
    ExistsError,
    atomic_file,
    atomic_write,
    remove_unfinished,
)
from daam.storage.store import (
    CHUNK_SIZE_BYTES,
    CONTROL_CHARACTERS,
    MissingKeyError,
    Store,
    check_key,
    check_name,
    check_prefix,
    check_range,
)


class LocalStore(Store):
    """Keys are files below a folder, which is created by the first write."""

    def __init__(self, folder: Path, *, root: Path | None = None) -> None:
        """
        Args:
            folder: of the keys.
            root: what is created in this folder gets its permissions from the umask; the folder
                itself is private, unless it exists. By default it is `folder`.
        """
        self._folder = absolute_folder(folder)
        self._root = self._folder if root is None else root

    @property
    def uri(self) -> str:
        return str(self._folder)

    @property
    def name(self) -> str:
        return self._folder.name

    def locate(self, key: str) -> str:
        return str(self.local_path(key))

    def read(self, key: str) -> bytes:
        with self._as_storage_error("read", key):
            return self.local_path(key).read_bytes()

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._as_storage_error("read", key), self.local_path(key).open("rb") as file:
            while chunk := file.read(CHUNK_SIZE_BYTES):
                yield chunk

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        check_range(start=start, size=size)
        with (
            self._as_storage_error("read", key),
            self.local_path(key).open("rb", buffering=0) as file,
        ):
            data = os.pread(file.fileno(), size, start)
            while len(data) < size and (more := os.pread(file.fileno(), size, start + len(data))):
                data += more[: size - len(data)]
        if len(data) < size:
            raise StorageError(
                f"{self.locate(key)} ends {size - len(data)} bytes too early for {size} bytes from "
                f"byte {start}; the file was truncated or replaced: write it again"
            )
        return data

    def write(self, key: str, data: bytes) -> None:
        atomic_write(self.local_path(key), (data,), root=self._root)

    def create(self, key: str, data: bytes) -> bool:
        try:
            with atomic_file(self.local_path(key), root=self._root, replace=False) as file:
                file.write(data)
        except ExistsError:
            return False
        return True

    def upload(self, path: Path, key: str) -> None:
        content = LocalStore(path.parent).chunks(path.name)
        atomic_write(self.local_path(key), content, root=self._root)

    def list(self, prefix: str = "") -> builtins.list[str]:
        check_prefix(prefix)
        # Only the folders that can hold such keys are searched.
        top = self._folder / prefix.rpartition("/")[0]
        keys: builtins.list[str] = []
        with self._as_storage_error("list", prefix):
            for folder, _, names in os.walk(top, onerror=_raise_unless_missing):
                relative = Path(folder).relative_to(self._folder)
                keys += [(relative / name).as_posix() for name in names]
        return sorted(
            key for key in keys if key.startswith(prefix) and not key.endswith(TEMPORARY_SUFFIX)
        )

    def versions(self, prefix: str = "") -> dict[str, str]:
        found = {}
        for key in self.list(prefix):
            with suppress(OSError):  # gone since it was listed, or a link to nothing
                stat = (self._folder / key).stat()
                found[key] = f"{stat.st_size}-{stat.st_mtime_ns}"
        return found

    def size(self, key: str) -> int:
        with self._as_storage_error("look up", key):
            path = self.local_path(key)
            if path.is_dir():
                raise FileNotFoundError(path)
            return path.stat().st_size

    def delete(self, key: str) -> None:
        with self._as_storage_error("delete", key):
            self.local_path(key).unlink(missing_ok=True)

    def child(self, prefix: str) -> LocalStore:
        return LocalStore(self.local_path(prefix.rstrip("/")), root=self._root)

    def folder(self, name: str, *, of: str) -> LocalStore:
        return LocalStore(self._folder / check_name(name, of=of))

    def remove_unfinished(self) -> builtins.list[str]:
        removed = remove_unfinished(self._folder)
        return [path.relative_to(self._folder).as_posix() for path in removed]

    def local_path(self, key: str) -> Path:
        return self._folder / check_key(key)

    @contextmanager
    def _as_storage_error(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise MissingKeyError(
                f"{self.uri} has no {key}; check the address and the name"
            ) from error
        except IsADirectoryError as error:
            raise StorageError(
                f"cannot {verb} {self._folder / key}: it is a folder, and a file is expected "
                "there; move it away"
            ) from error
        except OSError as error:
            raise StorageError(
                f"cannot {verb} {self._folder / key}: {error.strerror}; check that it and its "
                "folder are yours to use"
            ) from error


def absolute_folder(folder: Path) -> Path:
    """The absolute path of a folder or file; a leading `~` or `~user` is that home folder.

    Raises:
        StorageError: there is no such user, or as `check_path`.
    """
    try:
        return check_path(folder).expanduser().absolute()
    except RuntimeError as error:
        raise StorageError(
            f"{folder} names the home folder of a user that this machine does not know; write "
            "the full path, or ./~name for a folder of that name"
        ) from error


def check_path(path: Path) -> Path:
    """Return a path given by the user.

    Raises:
        StorageError: it has control characters: no path can have a NUL, and a newline would break
            the messages and files that name it.
    """
    if CONTROL_CHARACTERS.search(str(path)):
        raise StorageError(f"{str(path)!r} cannot be a path; leave the control characters out")
    return path


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
