"""Store the files of a domain, publish the manifest that names them, remove what is out of use.

    {domain}/manifest.json      the domain as it is now
    {domain}/previous.json      the manifest before it, whose files are kept too

A file's key contains its digest, so a new import never overwrites a file that a reader uses. The
files of the previous manifest are kept, so that a run which read it can continue; those of the one
before that are removed. A file that no manifest ever named is kept, since another import may just
have sent it: `remove_unnamed` is for when there is none.
"""

import hashlib
import re
from contextlib import AbstractContextManager
from pathlib import Path

from daam.dataset.format.manifest import DomainManifest, ShardEntry, manifest_key
from daam.errors import StorageError
from daam.storage import MissingKeyError, Store
from daam.storage.store import NAME_PATTERN

PREVIOUS_NAME = "previous.json"
FILES_NAMED = 3


class FilesGoneError(StorageError):
    """Files that an import or copy had stored were removed by another one."""


def send(
    entry: ShardEntry, file: AbstractContextManager[Path], *, to: Store, recheck: bool
) -> bool:
    """Upload a file of a domain unless the store has it; returns whether it was uploaded.

    Args:
        file: gives the local file with exactly the entry's bytes; entered only for an upload.
        recheck: read back what is stored, and what was just sent, and compare checksums; by default
            a file's name, which contains its digest, and its size are enough.

    Raises:
        StorageError: the store cannot be read or written, or returns other bytes than it was sent.
    """
    if _is_stored(entry, store=to, recheck=recheck):
        return False
    with file as path:
        to.upload(path, entry.key)
    if recheck and not _is_stored(entry, store=to, recheck=True):
        raise StorageError(
            f"{to.uri} took {entry.key} but gives back other bytes; its disks may be bad: choose "
            "another store"
        )
    return True


def publish(manifest: DomainManifest, data: bytes, *, to: Store) -> None:
    """Make a manifest the domain's, once all its files are stored, and remove outdated files.

    Of two concurrent imports of a domain, the manifest of the last one stays. Each removes the
    files of the manifest two before its own, which the other may name again. So each checks that
    its files exist before and after it publishes, and before and after each removal whether the
    other has published a manifest that names the file; if so it must be repeated. No store can
    check and remove in one step: if a process is killed between the two, or the store shows stale
    content, a file of the domain may be missing, which `verify` reports and another import repairs.

    Args:
        manifest: the content of `data`.
        data: stored byte for byte.

    Raises:
        FilesGoneError: another import removed a file of this one, or this one a file of another.
        StorageError: the store cannot be used.
    """
    check_all_stored(manifest, store=to)
    key = manifest_key(manifest.domain)
    current = _read(to, key)
    if current == data:
        return
    previous_key = _previous_key(manifest.domain)
    outdated = _files_named_in(_read(to, previous_key), domain=manifest.domain)
    if current is not None:
        to.write(previous_key, current)
    to.write(key, data)
    for kept in (current, data):
        outdated -= _files_named_in(kept, domain=manifest.domain)
    _remove_outdated(outdated, manifest=manifest, data=data, store=to)
    check_all_stored(manifest, store=to)


def check_all_stored(manifest: DomainManifest, *, store: Store) -> None:
    """Make sure that every file of a manifest is in the store.

    Raises:
        FilesGoneError: one is not.
        StorageError: the store cannot be read.
    """
    listed = set(store.list(f"{manifest.domain}/"))
    # A listing may be stale; a request for the file itself is not.
    missing = [
        entry.key
        for entry in manifest.files
        if entry.key not in listed and not store.exists(entry.key)
    ]
    if missing:
        raise FilesGoneError(
            f"{len(missing)} files of {manifest.domain} in {store.uri} are gone "
            f"({', '.join(missing[:FILES_NAMED])}): something else removed them meanwhile; run the "
            "command again"
        )


def unnamed_files(manifest: DomainManifest, *, store: Store) -> tuple[list[str], list[str]]:
    """The keys in the domain's folder that its manifest does not name.

    Returns:
        Those of the previous manifest, kept for runs that still read it; and those of imports and
        copies that are running, or did not finish.

    Raises:
        StorageError: the store cannot be read.
    """
    domain = manifest.domain
    named = {entry.key for entry in manifest.files} | {manifest_key(domain)}
    unnamed = [key for key in store.list(f"{domain}/") if key not in named]
    previous_key = _previous_key(domain)
    previous = _files_named_in(_read(store, previous_key), domain=domain) | {previous_key}
    return (
        [key for key in unnamed if key in previous],
        [key for key in unnamed if key not in previous],
    )


def remove_unnamed(manifest: DomainManifest, *, store: Store) -> list[str]:
    """Remove all of `unnamed_files` and what killed imports have left; return their keys.

    Not while the domain is imported or copied to this store, or a run reads its previous state.

    Raises:
        StorageError: the store cannot be read or written.
    """
    previous, others = unnamed_files(manifest, store=store)
    for key in (keys := others + previous):
        store.delete(key)
    domain = manifest.domain
    return keys + [f"{domain}/{name}" for name in store.child(domain).remove_unfinished()]


def _is_stored(entry: ShardEntry, *, store: Store, recheck: bool) -> bool:
    try:
        if store.size(entry.key) != entry.size_bytes:
            return False
        if not recheck:
            return True
        digest = hashlib.sha256()
        for chunk in store.chunks(entry.key):
            digest.update(chunk)
    except MissingKeyError:
        return False
    return digest.hexdigest() == entry.sha256


def _remove_outdated(
    outdated: set[str], *, manifest: DomainManifest, data: bytes, store: Store
) -> None:
    """Remove files while the manifest is the domain's; stop once another import has published.

    Raises:
        FilesGoneError: one that was removed is a file of that other import.
    """
    domain, key = manifest.domain, manifest_key(manifest.domain)
    current = _read(store, key)
    for outdated_key in sorted(outdated):
        if current != data:
            return  # the newer import removes the rest
        store.delete(outdated_key)
        current = _read(store, key)
        if outdated_key in _files_named_in(current, domain=domain):
            raise FilesGoneError(
                f"another import of {domain} to {store.uri} was published while this one removed "
                f"files that are out of use, and it needs {outdated_key} of them; run the command "
                "again"
            )


def _files_named_in(data: bytes | None, *, domain: str) -> set[str]:
    # A pattern, because manifests of older versions name their files in the same way.
    pattern = rf'"key": "({domain}/{NAME_PATTERN}\.arrow)"'
    return {key.decode() for key in re.findall(pattern.encode(), data or b"")}


def _previous_key(domain: str) -> str:
    return f"{domain}/{PREVIOUS_NAME}"


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except MissingKeyError:
        return None
