"""A trained embedder as one file that needs no daam: ONNX, or a PyTorch program.

The file is tested before it is published: it must embed real images as PyTorch does.
Shapes: B = images, H = height, W = width, C = embedding width.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from daam.dataset.pixels.normalise import normalise
from daam.errors import ExportError
from daam.inference.contract import FILE_NAME, KEY, EmbeddingContract, FileFormat
from daam.inference.deployed import DeployedEmbedder
from daam.inference.embedder import Embedder, open_embedder
from daam.model.network import DaamNetwork
from daam.runs.card import CARD, card_text
from daam.spread import spread_evenly
from daam.storage import open_parent, open_store
from daam.training.scoring.retrieval_test import open_unlabelled
from daam.training.setup.compute import compute_of
from daam.training.setup.data import manifest_of

TOLERANCE = 1e-4
NUM_TRIED = 64
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
BATCH_ENDS = (1, 8)  # batches of 1, 7 and all others: their size is free

FileEmbedder = Callable[[np.ndarray], np.ndarray]
"""(B, 3, H, W) float32 to (B, C) float32, with nothing but what is in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported model file and how close its embeddings are to PyTorch's.

    Attributes:
        card: the model card beside it.
        size_bytes: of the file.
        largest_difference: from PyTorch, of any component of any embedding.
        num_tried: real images that were embedded both ways.
        contract: in the file's metadata.
    """

    card: str
    size_bytes: int
    largest_difference: float
    num_tried: int
    contract: EmbeddingContract


def export(
    run: str | Path,
    *,
    to: str | Path,
    file_format: FileFormat | Literal["onnx", "torch"] = FileFormat.ONNX,
    domain: str | None = None,
    data_root: str | None = None,
) -> Exported:
    """Write the embedder of a run's newest checkpoint to a file.

    It embeds what `evaluate` embeds on the domain, in float32 and without averaging over flips. The
    model card is written beside it: `embedder.card.md` for `embedder.onnx`.

    Args:
        run: folder of the run, local or on S3.
        to: the file, local or on S3; replaced if it exists.
        file_format: `onnx`, or `torch` for `torch.export.load`.
        domain: whose images it will embed; by default the run's target. Its unlabelled train images
            give the norm statistics and the images of the test.
        data_root: where the domains are, if they have moved since the run.

    Raises:
        ExportError: there is no such format, a package is missing, or the file's embeddings differ
            from PyTorch's by more than 1e-4 in any component; nothing is written.
        DaamError: there is no such run or domain, or one of them is damaged.
    """
    to = os.fspath(to)
    if file_format not in list(FileFormat):
        raise ExportError(
            f"there is no file format {file_format!r}; choose {' or '.join(FileFormat)}"
        )
    if to.endswith("/"):
        raise ExportError(f"{to} is a folder; name the file to write, for example {to}model.onnx")
    store, name = open_parent(to)
    if file_format == FileFormat.ONNX:
        require_onnx()
    embedder = open_embedder(
        os.fspath(run), domain=domain, data_root=data_root, precision="float32"
    )
    program = exported_program(
        embedder.network, height=embedder.contract.height, width=embedder.contract.width
    )
    if file_format == FileFormat.ONNX:
        content = onnx_content(program, contract=embedder.contract)
        opened = opened_onnx(content)
    else:
        content = torch_content(program, contract=embedder.contract)
        opened = opened_torch(content)
    difference, num_tried = largest_difference(opened, embedder)
    if not difference <= TOLERANCE:  # also when it is not a number
        raise ExportError(
            f"{to} was not written: as {file_format} the embedder differs from PyTorch's by "
            f"{difference:.1e} on images of {embedder.domain}, more than {TOLERANCE:.0e}; "
            "try the other --format"
        )
    store.write(name, content)
    card = f"{name.rpartition('.')[0] or name}.{CARD}"
    store.write(card, card_text(open_store(os.fspath(run))).encode())
    return Exported(
        card=store.locate(card),
        size_bytes=len(content),
        largest_difference=difference,
        num_tried=num_tried,
        contract=embedder.contract,
    )


def require_onnx() -> None:
    """Check before any work that the packages of the extra `export` are installed.

    Raises:
        ExportError: one of them is not.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX files are written with packages that are not installed: pip install "
            f"{' '.join(missing)} (daam's extra `export`), or choose --format torch"
        )


def exported_program(network: DaamNetwork, *, height: int, width: int) -> ExportedProgram:
    """Trace the embedder for any batch size, without traces of this machine."""
    program = torch.export.export(
        DeployedEmbedder(network),
        (torch.zeros(2, 3, height, width),),
        dynamic_shapes={"images": {0: Dim.DYNAMIC}},
    )
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # it names our folders
    return program


def onnx_content(program: ExportedProgram, *, contract: EmbeddingContract) -> bytes:
    """Return an ONNX file of the program: `images` to `embeddings`."""
    converted = torch.onnx.export(
        program,
        (),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["embeddings"],
    )
    if converted is None:
        raise AssertionError("without a file to write to, the exporter returns the program")
    model = converted.model_proto
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")  # the exporter's notes: useless, half of a small file
    for value in (*model.graph.value_info, *model.graph.initializer):
        value.ClearField("metadata_props")
    model.producer_name, model.producer_version = "daam", contract.daam_version
    model.metadata_props.add(key=KEY, value=contract.to_json())
    return model.SerializeToString()


def torch_content(program: ExportedProgram, *, contract: EmbeddingContract) -> bytes:
    """Return an archive for `torch.export.load`, which holds JSON and raw tensors and no pickle."""
    program.example_inputs = None  # these would be pickled
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={FILE_NAME: contract.to_json()})
    return buffer.getvalue()


def opened_onnx(content: bytes) -> FileEmbedder:
    """Run an ONNX file with ONNX Runtime on the CPU."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images_BCHW: session.run(["embeddings"], {"images": images_BCHW})[0]


def opened_torch(content: bytes) -> FileEmbedder:
    """Run a PyTorch archive on the CPU."""
    module = torch.export.load(io.BytesIO(content)).module()

    def embed(images_BCHW: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(images_BCHW)).numpy()

    return embed


def largest_difference(opened: FileEmbedder, embedder: Embedder) -> tuple[float, int]:
    """Embed real images with the file and as `evaluate` does.

    Returns:
        The largest difference of any number, NaN if there is one among them; and how many images
        were tried, spread evenly over the domain's train images.
    """
    manifest = manifest_of(embedder.config, embedder.domain)
    reader = open_unlabelled(embedder.config, manifest=manifest)
    rows = spread_evenly(reader.num_rows, count=NUM_TRIED)
    images_BHWC = reader.read(rows)
    with torch.inference_mode():
        wanted_BC = embedder.network.embed(normalise(compute_of(embedder.config).move(images_BHWC)))
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).float().contiguous().numpy()
    parts = [part for part in np.split(images_BCHW, BATCH_ENDS) if len(part)]
    found_BC = np.concatenate([opened(part) for part in parts])
    return float(np.abs(found_BC - wanted_BC.cpu().numpy()).max()), len(rows)
