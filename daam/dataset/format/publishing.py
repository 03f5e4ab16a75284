"""Files of a domain into a store, then the manifest that names them; and what is there besides.

    {domain}/manifest.json      what the domain is now
    {domain}/previous.json      the manifest before, whose files are kept too

A file's key carries its digest, so a new import never overwrites a file that a reader has in use.
The files of the manifest before are kept, so that a run which read it goes on; those of the one
before that are removed. A file that no manifest ever named is left alone, for another import may
just have sent it: `remove_unnamed` is for when there is none.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from daam.dataset.format.download import sha256_of
from daam.dataset.format.manifest import DomainManifest, ShardEntry, manifest_key
from daam.errors import StorageError
from daam.storage import MissingKeyError, Store

PREVIOUS_NAME = "previous.json"
FILES_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UnnamedFiles:
    """Keys in a domain's folder that its manifest does not name.

    Attributes:
        previous: of the manifest before, kept for runs that still read it.
        others: of imports and copies that are under way, or did not end.
    """

    previous: tuple[str, ...]
    others: tuple[str, ...]


def send(path: Path, entry: ShardEntry, *, to: Store, recheck: bool = False) -> bool:
    """Upload a file of a domain if the store does not have it; tells whether it was uploaded.

    Args:
        path: the file, with exactly the entry's bytes.
        recheck: as in `is_stored` and `upload`.

    Raises:
        StorageError: as in `upload`.
    """
    missing = not is_stored(entry, store=to, recheck=recheck)
    if missing:
        upload(path, entry, to=to, recheck=recheck)
    return missing


def upload(path: Path, entry: ShardEntry, *, to: Store, recheck: bool) -> None:
    """Upload a file of a domain.

    Args:
        recheck: read it back and compare its checksum.

    Raises:
        StorageError: the store cannot be read or written, or gives other bytes than it was sent.
    """
    to.upload(path, entry.key)
    if recheck and not is_stored(entry, store=to, recheck=True):
        raise StorageError(
            f"{to.uri} took {entry.key} but gives back other bytes; its disks may be bad: choose "
            "another store"
        )


def is_stored(entry: ShardEntry, *, store: Store, recheck: bool = False) -> bool:
    """Whether a store has a file.

    Args:
        recheck: read every byte of it; by default its name, which carries the digest, and its size
            are enough.

    Raises:
        StorageError: the store cannot be read.
    """
    try:
        if store.size(entry.key) != entry.size_bytes:
            return False
        if not recheck:
            return True
        return sha256_of(store.chunks(entry.key)) == entry.sha256
    except MissingKeyError:
        return False


class FilesGoneError(StorageError):
    """Files of an import or copy that were stored are there no more: another one removed them."""


def publish(manifest: DomainManifest, data: bytes, *, to: Store) -> None:
    """Make a manifest the domain's, its files being there, and remove what is out of use.

    Two imports of a domain at once end with the manifest of the last one. Files of a manifest two
    before it are removed, which another import may want to name again: so each looks before and
    after it publishes whether all its files are there, and before and after it removes a file
    whether another has published one that names it, and is to be repeated if so. No store has a way
    to look and remove in one step: if a process is killed between the two, or a store shows what is
    no more, the domain may miss a file, which `verify` tells and another import repairs.

    Args:
        manifest: what `data` says.
        data: stored byte for byte.

    Raises:
        FilesGoneError: another import removed a file of this one, or this one a file of another.
        StorageError: the store cannot be used.
    """
    check_all_there(manifest, store=to)
    key = manifest_key(manifest.domain)
    current = _read(to, key)
    if current != data:
        previous_key = _previous_key(manifest.domain)
        outdated = _named_in(_read(to, previous_key), domain=manifest.domain)
        if current is not None:
            to.write(previous_key, current)
        to.write(key, data)
        for named in (current, data):
            outdated -= _named_in(named, domain=manifest.domain)
        _remove_outdated(outdated, manifest=manifest, data=data, store=to)
        check_all_there(manifest, store=to)


def _remove_outdated(
    outdated: set[str], *, manifest: DomainManifest, data: bytes, store: Store
) -> None:
    """Remove files while the manifest is the domain's; stop once another import published its own.

    Raises:
        FilesGoneError: one that was removed is a file of that other import.
    """
    domain, key = manifest.domain, manifest_key(manifest.domain)
    current = _read(store, key)
    for outdated_key in sorted(outdated):
        if current != data:
            return  # the newer import looks after its own
        store.delete(outdated_key)
        current = _read(store, key)
        if outdated_key in _named_in(current, domain=domain):
            raise FilesGoneError(
                f"another import of {domain} to {store.uri} was published while this one removed "
                f"files that are out of use, and it needs {outdated_key} of them; do the same again"
            )


def check_all_there(manifest: DomainManifest, *, store: Store) -> None:
    """Make sure that every file of a manifest is in the store.

    Raises:
        FilesGoneError: one is not.
        StorageError: the store cannot be read.
    """
    listed = set(store.list(f"{manifest.domain}/"))
    # A listing may lag behind; asking for the file itself settles it.
    missing = [
        entry.key
        for entry in manifest.files
        if entry.key not in listed and not store.exists(entry.key)
    ]
    if missing:
        raise FilesGoneError(
            f"{len(missing)} files of {manifest.domain} in {store.uri} are gone "
            f"({', '.join(missing[:FILES_NAMED])}): something else removed them meanwhile; do the "
            "same again"
        )


def unnamed_files(manifest: DomainManifest, *, store: Store) -> UnnamedFiles:
    """What lies in the domain's folder besides the files that its manifest names.

    Raises:
        StorageError: the store cannot be read.
    """
    domain = manifest.domain
    named = {entry.key for entry in manifest.files} | {manifest_key(domain)}
    unnamed = [key for key in store.list(f"{domain}/") if key not in named]
    previous_key = _previous_key(domain)
    previous = _named_in(_read(store, previous_key), domain=domain) | {previous_key}
    return UnnamedFiles(
        previous=tuple(key for key in unnamed if key in previous),
        others=tuple(key for key in unnamed if key not in previous),
    )


def remove_unnamed(manifest: DomainManifest, *, store: Store) -> tuple[str, ...]:
    """Remove all of `unnamed_files`; returns their keys. Not while the domain is imported or copied
    to this store, or while a run reads what it was before.

    Raises:
        StorageError: the store cannot be read or written.
    """
    unnamed = unnamed_files(manifest, store=store)
    keys = (*unnamed.others, *unnamed.previous)
    for key in keys:
        store.delete(key)
    return keys


def _named_in(data: bytes | None, *, domain: str) -> set[str]:
    # Of whatever version it is: older manifests name their files in the same way.
    pattern = rf'"key": "({re.escape(domain)}/[^/"]+\.arrow)"'
    return {key.decode() for key in re.findall(pattern.encode(), data or b"")}


def _previous_key(domain: str) -> str:
    return manifest_key(domain).rpartition("/")[0] + f"/{PREVIOUS_NAME}"


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except MissingKeyError:
        return None
