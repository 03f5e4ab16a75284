"""Files of a stored domain, changed behind its manifest's back."""

import hashlib
import json
from collections.abc import Callable

import pyarrow as pa

from daam.dataset.format.manifest import MANIFEST_NAME, DomainManifest
from daam.dataset.format.shards import DIGEST_DIGITS
from daam.storage import Store


def domains_in(store: Store) -> list[str]:
    """The domains in a store, by name: those with a manifest."""
    return [key.partition("/")[0] for key in store.list() if key.endswith(f"/{MANIFEST_NAME}")]


def damage(store: Store, key: str) -> bytes:
    """Flip a bit in the middle of a file; gives the bytes it had."""
    whole = store.read(key)
    data = bytearray(whole)
    data[len(data) // 2] ^= 1
    store.write(key, bytes(data))
    return whole


def replaced(
    store: Store, manifest: DomainManifest, *, key: str, edit: Callable[[pa.Table], pa.Table]
) -> str:
    """Put another table in place of a file, with a manifest that names it; gives its key."""
    table = edit(pa.ipc.open_file(store.read(key)).read_all())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return replaced_bytes(store, manifest, key=key, data=sink.getvalue().to_pybytes())


def replaced_bytes(store: Store, manifest: DomainManifest, *, key: str, data: bytes) -> str:
    """Put other bytes in place of a file, with a manifest that names them; gives its key."""
    digest = hashlib.sha256(data).hexdigest()
    content = json.loads(manifest.to_json())
    entries = [
        entry
        for split in content["splits"].values()
        for entry in (*split["shards"], split["index"], split["labels"])
    ]
    entry = next(entry for entry in entries if entry["key"] == key)
    entry["key"] = f"{key.rpartition('-')[0]}-{digest[:DIGEST_DIGITS]}.arrow"
    entry |= {"sha256": digest, "size_bytes": len(data)}
    store.write(entry["key"], data)
    store.write(f"{manifest.domain}/manifest.json", json.dumps(content).encode())
    return entry["key"]
