"""The manifest of a domain."""

from pathlib import Path

from hypothesis.strategies import one_of

from daam.dataset.format.manifest import DomainManifest
from tests.fuzz.domain import DOMAIN, domain
from tests.fuzz.mutations import mutated_bytes, mutated_json
from tests.fuzz.target import Target


def target() -> Target:
    """It names files of its own domain alone, and is written as it was read."""
    samples = [domain().manifest.to_json()]
    return Target(
        name="manifest",
        samples=samples,
        mutated=one_of(mutated_json(samples), mutated_json(samples), mutated_bytes(samples)),
        read=_read,
    )


def _read(data: bytes, _: Path) -> None:
    read = DomainManifest.from_json(data, domain=DOMAIN, place="plaza/manifest.json")
    assert all(entry.key.startswith(f"{DOMAIN}/") for entry in read.files)
    assert all(Path(entry.key).parent == Path(DOMAIN) for entry in read.files)
    again = DomainManifest.from_json(read.to_json(), domain=DOMAIN, place="the same")
    assert again == read
