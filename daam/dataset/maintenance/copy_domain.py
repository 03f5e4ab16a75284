"""Copy a domain to another store, verifying every byte on the way."""

from collections.abc import Callable

from daam.dataset.format.download import ByteProgress, Progress, verified_file
from daam.dataset.format.manifest import DomainManifest, ShardEntry, manifest_key, stored_manifest
from daam.dataset.format.publishing import publish, send
from daam.dataset.parallel import parallel_map
from daam.errors import ConfigError
from daam.storage import Store
from daam.storage.scratch import scratch_folder

FILES_AT_ONCE = 4


def copy_domain(
    domain: str,
    *,
    source: Store,
    target: Store,
    recheck: bool = False,
    progress: Progress | None = None,
    on_file: Callable[[ShardEntry, bool], None] | None = None,
) -> DomainManifest:
    """Copy a domain between stores, several files at once, its manifest last and byte for byte.

    Files that the target has already, by name and size, are not sent, so running an interrupted
    copy again resumes it. A file is verified before any byte of it is sent; it passes through the
    disk, so memory does not grow with it. If one is damaged nothing is published.

    Args:
        recheck: read back every file of the target, also those just sent, and send damaged ones
            again: this repairs a domain from another copy of it.
        progress: called with (bytes done, bytes in all).
        on_file: called with each file that the target has now, and whether it was sent.

    Raises:
        BadFileError: the source has a damaged or missing file.
        ShardError: the domain is not in the source, or its manifest cannot be used.
        ConfigError: the two stores are the same.
        StorageError: a store cannot be used.
    """
    if source.uri == target.uri:
        raise ConfigError(f"{source.uri} is both source and target; copy to another store")
    data = stored_manifest(source, domain)
    place = source.locate(manifest_key(domain))
    manifest = DomainManifest.from_json(data, domain=domain, place=place)
    read = ByteProgress(sum(entry.size_bytes for entry in manifest.files), report=progress)

    target.child(domain).remove_unfinished()
    with scratch_folder() as scratch:

        def copy(entry: ShardEntry) -> None:
            file = verified_file(source, entry, scratch=scratch, progress=read)
            sent = send(entry, file, to=target, recheck=recheck)
            if not sent:
                read.add(entry.size_bytes)
            if on_file is not None:
                on_file(entry, sent)

        for _ in parallel_map(copy, manifest.files, num_threads=FILES_AT_ONCE, prefetch=0):
            pass
    publish(manifest, data, to=target)
    return manifest
