"""Exported files, run with what a user would run them with, against what `evaluate` embeds."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from daam.dataset.pixels.normalise import normalise
from daam.errors import ExportError
from daam.inference import export as export_module
from daam.inference.contract import EmbeddingContract, FileFormat
from daam.inference.embedder import Embedder, open_embedder
from daam.inference.embedding import embed_to_file
from daam.inference.export import (
    export,
    exported_program,
    largest_difference,
    onnx_content,
    torch_content,
)
from daam.runs.checkpoint import save_checkpoint
from daam.runs.run_folder import trained
from daam.storage import open_store
from daam.storage.atomic import TEMPORARY_SUFFIX
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.network import build_network
from tests.support.kinds_of_networks import KINDS, network_of
from tests.support.tiny_domains import HEIGHT, WIDTH

ROOT = Path(export_module.__file__).parents[2]
NAMES = {FileFormat.ONNX: "embedder.onnx", FileFormat.TORCH: "embedder.pt2"}


@pytest.fixture(scope="module")
def onnx_file(tiny_run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedder of a run for its target."""
    to = tmp_path_factory.mktemp("exported") / NAMES[FileFormat.ONNX]
    export(tiny_run, file_format=FileFormat.ONNX, to=str(to))
    return to


@pytest.fixture(scope="module")
def torch_file(tiny_run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a PyTorch archive."""
    to = tmp_path_factory.mktemp("exported") / NAMES[FileFormat.TORCH]
    export(tiny_run, file_format=FileFormat.TORCH, to=str(to))
    return to


@pytest.fixture(params=["onnx_file", "torch_file"])
def exported(request: pytest.FixtureRequest) -> Path:
    """Each of the two."""
    return request.getfixturevalue(request.param)


def embedded_by_file(path: Path, images_BCHW: np.ndarray) -> np.ndarray:
    """Embed without daam, as docs/guides/export.md says."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["embeddings"], {"images": images_BCHW})[0])
    model = torch.export.load(path).module()
    return model(torch.from_numpy(images_BCHW)).numpy()


def contract_of(path: Path) -> dict[str, object]:
    """Read the contract without daam."""
    if path.suffix == ".onnx":
        metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
        return json.loads(metadata["contract"])
    extra = {"contract.json": ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra["contract.json"])


@pytest.fixture(scope="module")
def evaluated(tiny_run: str) -> tuple[np.ndarray, np.ndarray]:
    """The target's queries, (Q, 3, H, W) levels, and their embeddings in a test, (Q, C)."""
    config, state = trained(tiny_run)
    network = build_network(config, num_identities=state["num_identities"])
    network.load_state_dict(state["network"])
    test = RetrievalTest.on_test(config, domain="campus")
    result = score(network, test, config)
    images = test.query.reader.read(np.arange(test.query.reader.num_rows))
    return images.permute(0, 3, 1, 2).float().contiguous().numpy(), result.query_NC.numpy()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 12])
def test_a_file_embeds_what_evaluate_embeds_in_any_batch(
    exported: Path, evaluated: tuple[np.ndarray, np.ndarray], batch_size: int
) -> None:
    images_BCHW, wanted_BC = evaluated
    parts = np.split(images_BCHW, range(batch_size, len(images_BCHW), batch_size))
    found_BC = np.concatenate([embedded_by_file(exported, part) for part in parts])
    np.testing.assert_allclose(found_BC, wanted_BC, rtol=0, atol=1e-5)


def test_norm_statistics_are_those_of_the_domain_it_is_for(
    tiny_run: str, tmp_path: Path, evaluated: tuple[np.ndarray, np.ndarray]
) -> None:
    images_BCHW, wanted_BC = evaluated
    to = tmp_path / "station.pt2"
    made = export(tiny_run, file_format=FileFormat.TORCH, to=str(to), domain="station")
    assert made.contract.norm_statistics == contract_of(to)["norm_statistics"] == "station"
    assert np.abs(embedded_by_file(to, images_BCHW) - wanted_BC).max() > 1e-3


def test_the_contract_says_what_goes_in_and_where_it_comes_from(exported: Path) -> None:
    contract = contract_of(exported)
    assert (contract["height"], contract["width"]) == (HEIGHT, WIDTH)
    assert contract["embedding_width"] == 128
    assert contract["channels"] == "RGB"
    assert contract["mean"] == [0.485, 0.456, 0.406]
    assert contract["std"] == [0.229, 0.224, 0.225]
    assert contract["transfer"] == "plaza->campus"
    assert contract["run"] == "tiny"
    assert contract["norm_statistics"] == "campus"
    assert contract["num_epochs"] == 2
    assert contract["precision"] == "float32"
    assert contract["daam_version"]


def test_an_onnx_file_is_valid_and_names_its_shapes(onnx_file: Path) -> None:
    onnx.checker.check_model(onnx.load(onnx_file), full_check=True)
    session = onnxruntime.InferenceSession(onnx_file)
    (images,), (embeddings,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type) == ("images", "tensor(float)")
    assert isinstance(images.shape[0], str)
    assert images.shape[1:] == [3, HEIGHT, WIDTH]
    assert (embeddings.name, embeddings.shape[1]) == ("embeddings", 128)


def test_a_torch_file_holds_no_pickle(torch_file: Path) -> None:
    with zipfile.ZipFile(torch_file) as archive:
        files = {file.filename: archive.read(file) for file in archive.infolist()}
    assert not any(b'"use_pickle": true' in content for content in files.values())
    # A pickle of any protocol that PyTorch writes begins so; a zip file may hold one in turn.
    assert not any(content[:2] in (b"\x80\x02", b"PK") for content in files.values())


def test_a_file_tells_nothing_of_the_machine_that_made_it(exported: Path) -> None:
    if exported.suffix == ".onnx":
        contents = [exported.read_bytes()]
    else:
        with zipfile.ZipFile(exported) as archive:
            contents = [archive.read(file) for file in archive.infolist()]
    folder = str(ROOT).encode()
    assert not any(folder in content or b"identities" in content for content in contents)


@pytest.fixture(scope="module")
def contract(tiny_run: str) -> EmbeddingContract:
    return open_embedder(tiny_run, domain=None, data_root=None).contract


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind_can_be_exported(kind: str, contract: EmbeddingContract) -> None:
    network = network_of(kind).eval()
    program = exported_program(network, height=HEIGHT, width=WIDTH)
    images_BHWC = torch.randint(0, 256, (5, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).float().contiguous().numpy()
    with torch.inference_mode():
        wanted_BC = network.embed(normalise(images_BHWC)).numpy()
    for opened in (
        export_module.opened_onnx(onnx_content(program, contract=contract)),
        export_module.opened_torch(torch_content(program, contract=contract)),
    ):
        for first, end in ((0, 5), (0, 1)):
            np.testing.assert_allclose(
                opened(images_BCHW[first:end]), wanted_BC[first:end], rtol=0, atol=1e-5
            )


@pytest.fixture(scope="module")
def other_embedder(tiny_run: str) -> Embedder:
    """The embedder of the same run with one weight altered."""
    embedder = open_embedder(tiny_run, domain=None, data_root=None)
    with torch.no_grad():
        embedder.network.shared.bottleneck.weight[0] += 1.0
    return embedder


@pytest.fixture(scope="module")
def other_program(other_embedder: Embedder) -> torch.export.ExportedProgram:
    return exported_program(other_embedder.network, height=HEIGHT, width=WIDTH)


def test_altered_weights_are_noticed(
    tiny_run: str, onnx_file: Path, other_embedder: Embedder
) -> None:
    embedder = open_embedder(tiny_run, domain=None, data_root=None)
    opened = export_module.opened_onnx(onnx_file.read_bytes())
    assert largest_difference(opened, embedder)[0] < 1e-5
    assert largest_difference(opened, other_embedder)[0] > 1e-4


@pytest.mark.parametrize(
    ("file_format", "before"),
    [
        (FileFormat.ONNX, None),
        (FileFormat.TORCH, None),
        (FileFormat.TORCH, b"an earlier export"),
    ],
)
def test_a_file_that_embeds_otherwise_is_not_written(
    tiny_run: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other_program: torch.export.ExportedProgram,
    file_format: FileFormat,
    before: bytes | None,
) -> None:
    to = tmp_path / NAMES[file_format]
    if before is not None:
        to.write_bytes(before)
    monkeypatch.setattr(export_module, "exported_program", lambda *_, **__: other_program)
    with pytest.raises(ExportError, match=r"differs from PyTorch's by .*more than 1e-04"):
        export(tiny_run, file_format=file_format, to=str(to))
    if before is None:
        assert list(tmp_path.glob("embedder*")) == []
    else:
        assert to.read_bytes() == before
    assert list(tmp_path.glob(f"*{TEMPORARY_SUFFIX}")) == []


def test_a_difference_that_is_not_a_number_is_refused(
    tiny_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "largest_difference", lambda *_: (float("nan"), 1))
    with pytest.raises(ExportError, match="nan"):
        export(tiny_run, file_format=FileFormat.TORCH, to=str(tmp_path / "embedder.pt2"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_half_precision_is_exported_in_full(tiny_run: str, tmp_path: Path) -> None:
    _, state = trained(tiny_run)
    state["config"]["compute"]["precision"] = "bfloat16"
    save_checkpoint(open_store(str(tmp_path / "half" / "checkpoints")), state)
    to = tmp_path / "embedder.pt2"
    made = export(str(tmp_path / "half"), file_format=FileFormat.TORCH, to=str(to))
    assert made.largest_difference < 1e-5
    assert made.contract.precision == "float32"


def test_a_file_can_go_to_s3(tiny_run: str, s3_uri: str) -> None:
    made = export(tiny_run, file_format=FileFormat.TORCH, to=f"{s3_uri}/models/embedder.pt2")
    content = open_store(s3_uri).read("models/embedder.pt2")
    assert len(content) == made.size_bytes
    torch.export.load(io.BytesIO(content))


def test_a_folder_is_no_file_to_write(tiny_run: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="folder"):
        export(tiny_run, file_format=FileFormat.ONNX, to=f"{tmp_path}/")


def test_the_lines_of_the_documentation_run(
    tiny_run: str,
    tiny_root: Path,
    tmp_path: Path,
    onnx_file: Path,
    torch_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (onnx_file, torch_file):
        shutil.copy(path, path.name)
    queries = tiny_root.parent / "raw" / "campus" / "query"
    first = min(queries.iterdir())
    shutil.copy(first, "person.jpg")
    to = "embeddings.parquet"
    embed_to_file(tiny_run, images=queries, to=to)
    text = (ROOT / "docs" / "guides" / "export.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    found: dict[str, Any] = {}
    embeddings = []
    for block in blocks:
        exec(block, found)  # noqa: S102  (our own documentation)
        embeddings.append(np.asarray(found["embeddings"])[0])
    np.testing.assert_allclose(embeddings[1], embeddings[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(embeddings[2], embeddings[0], rtol=0, atol=1e-5)
    assert found["similarity"].shape == (12, 12)
    assert found["contract"]["embedding_width"] == 128
