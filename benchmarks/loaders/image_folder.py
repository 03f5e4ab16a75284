"""torchvision's ImageFolder behind a DataLoader: a file an image."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.loaders.place import Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work


def prepare(images: Path, folder: Path) -> None:
    """Nothing to do: a folder for each identity is its format."""
    folder.symlink_to(images.resolve())


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches."""
    dataset = ImageFolder(
        str(place.folder / "image_folder"),
        loader=lambda path: Path(path).read_bytes(),  # type: ignore[arg-type]
        transform=work.each,
    )
    loader = DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        shuffle=shuffle,
        num_workers=NUM_WORKERS,
        drop_last=shuffle,
        collate_fn=lambda items: work.collate([image for image, _ in items]),
    )
    return map(work.finish, loader)
