"""The contract of an embedding: how it was made, written into exported models and their tables."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

KEY = "contract"  # of the metadata of ONNX and Parquet files
FILE_NAME = "contract.json"  # in a PyTorch archive
RESIZE = (
    "decode to RGB; if the size is not height x width, resize to it without keeping the aspect "
    "ratio, bilinear with antialiasing, and round to whole levels"
)


class FileFormat(StrEnum):
    """The formats of an exported embedder."""

    ONNX = "onnx"
    TORCH = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingContract:
    """How embeddings were made, so that others can be made that compare with them.

    Attributes:
        height: of the images that the network sees, pixels.
        width: likewise, pixels.
        embedding_width: numbers of an embedding.
        mean: of each channel, on a scale of 0 to 1; subtracted by the embedder itself.
        std: of each channel; the embedder divides by it.
        embedding: `bottleneck`, or `pooled`: before the last batch norm.
        precision: of the computation; embeddings are stored as float32 either way.
        run: name of the training run's folder.
        transfer: the run's source and target.
        num_epochs: that the run had finished.
        norm_statistics: the domain whose unlabelled images gave the batch-norm statistics, or
            `training` for the running averages of training.
        daam_version: that wrote the file.
    """

    height: int
    width: int
    embedding_width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding: str
    precision: str
    run: str
    transfer: str
    num_epochs: int
    norm_statistics: str
    daam_version: str
    resize: str = RESIZE
    channels: str = "RGB"
    input: str = "float32 (batch, 3, height, width), levels 0..255, not normalised"
    output: str = "float32 (batch, embedding_width), of length 1; similarity is the dot product"
    flip_averaged: bool = False

    def to_json(self) -> str:
        """Return it as a JSON document."""
        return json.dumps(asdict(self))
