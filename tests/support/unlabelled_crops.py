"""A folder of crops that nobody labelled, imported."""

from pathlib import Path

from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.import_domain import import_domain
from daam.domains import Split
from daam.storage import open_store
from tests.support.tiny_domains import write_market


def import_crops(root: Path, *, to: str, known: str) -> None:
    """Import them as the domain `mine`.

    Args:
        root: an empty folder for the images.
        to: the store.
        known: words of `camera` and `track`, for what the images' names say.
    """
    write_market(root, name="campus")
    builder = IndexBuilder(layout="folder", root=root)
    for path in sorted((root / "bounding_box_train").iterdir()):
        person, place = path.name.split("_")[:2]
        builder.add(
            f"{path.parent.name}/{path.name}",
            split=Split.TRAIN,
            identity=None,
            camera=int(place[1]) if "camera" in known else None,
            track=10 * int(person) + int(place[1]) if "track" in known else None,
        )
    import_domain(builder.build(), domain="mine", to=open_store(to))
