"""A store whose changes are allowed only as long as its user is the one who may make them."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from pathlib import Path

from daam.storage.opening import open_store
from daam.storage.store import Store


class FencedStore(Store):
    """Another store; before every change to it something is asked, which raises if it is refused.

    It pickles to the other store, without the fence.

    Args:
        store: the other one.
        ensure_allowed: raises FencedError if this process may no longer change the store.
    """

    def __init__(self, store: Store, *, ensure_allowed: Callable[[], None]) -> None:
        self._store = store
        self.ensure_allowed = ensure_allowed

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open_store, (self.uri,)

    @property
    def uri(self) -> str:
        return self._store.uri

    @property
    def name(self) -> str:
        return self._store.name

    def locate(self, key: str) -> str:
        return self._store.locate(key)

    def read(self, key: str) -> bytes:
        return self._store.read(key)

    def chunks(self, key: str) -> Iterator[bytes]:
        return self._store.chunks(key)

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        return self._store.read_range(key, start=start, size=size)

    def write(self, key: str, data: bytes) -> None:
        self.ensure_allowed()
        self._store.write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self.ensure_allowed()
        return self._store.create(key, data)

    def upload(self, path: Path, key: str) -> None:
        self.ensure_allowed()
        self._store.upload(path, key)

    def list(self, prefix: str = "") -> builtins.list[str]:
        return self._store.list(prefix)

    def versions(self, prefix: str = "") -> dict[str, str]:
        return self._store.versions(prefix)

    def size(self, key: str) -> int:
        return self._store.size(key)

    def delete(self, key: str) -> None:
        self.ensure_allowed()
        self._store.delete(key)

    def remove_unfinished(self) -> builtins.list[str]:
        self.ensure_allowed()
        return self._store.remove_unfinished()

    def child(self, prefix: str) -> Store:
        return FencedStore(self._store.child(prefix), ensure_allowed=self.ensure_allowed)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)
