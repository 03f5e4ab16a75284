"""Questions about pairs: which pairs, answers that survive, and the page that asks."""

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from daam.commands.label import label_routes
from daam.commands.web.local_page import LocalPage, Request
from daam.errors import EvaluationError, StorageError
from daam.inference import labelling
from daam.inference.labelling import ANSWERS_NAME, RESULT_NAME, LabellingSession, nearest_pairs
from daam.storage import open_store
from tests.support.chromium import Chromium
from tests.support.page_request import ask

POST = ("POST", "answer")


@pytest.fixture
def session(tiny_run: str, tmp_path: Path) -> LabellingSession:
    return LabellingSession.opened(tiny_run, domain=None, to=tmp_path / "answers")


def naive_nearest(embeddings: np.ndarray, cameras: np.ndarray | None) -> list[tuple[int, int]]:
    pairs = []
    for row, own in enumerate(embeddings):
        best, found = -np.inf, None
        for other, theirs in enumerate(embeddings):
            apart = other != row if cameras is None else cameras[other] != cameras[row]
            if apart and own @ theirs > best:
                best, found = own @ theirs, other
        if found is not None:
            pairs.append((row, found))
    return pairs


@pytest.mark.parametrize("known", [True, False])
def test_each_image_is_paired_with_its_nearest_under_another_camera(known: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    embeddings_NC = F.normalize(torch.randn(40, 8, generator=generator), dim=1)
    cameras_N = np.arange(40) % 3 if known else None
    pairs_P2, distances_P = nearest_pairs(embeddings_NC, cameras_N=cameras_N)
    wanted = naive_nearest(embeddings_NC.double().numpy(), cameras_N)
    assert [tuple(pair) for pair in pairs_P2.tolist()] == wanted
    left, right = embeddings_NC[pairs_P2[:, 0]], embeddings_NC[pairs_P2[:, 1]]
    assert distances_P == pytest.approx((1 - (left * right).sum(dim=1)).numpy(), abs=1e-6)


def test_one_camera_alone_has_no_pairs() -> None:
    pairs_P2, _ = nearest_pairs(F.normalize(torch.randn(4, 3), dim=1), cameras_N=np.ones(4))
    assert pairs_P2.shape == (0, 2)


def test_answers_survive_the_process_and_can_be_taken_back(
    session: LabellingSession, tiny_run: str
) -> None:
    with session:
        asked = []
        for answer in ("same", "different", "unsure", "same"):
            question = session.next_question()
            assert question is not None
            asked.append(question)
            session.answer(question, answer)
        session.undo()
        assert session.next_question() == asked[-1]
        assert session.num_answers == 3
        found = session.result()
    with LabellingSession.opened(tiny_run, domain=None, to=session.folder) as again:
        assert again.num_answers == 3
        assert again.result() == found
        assert again.next_question() not in asked[:-1]
    written = json.loads((session.folder / RESULT_NAME).read_text())
    assert written["num_same"] == written["num_different"] == written["num_unsure"] == 1
    assert 0 <= written["error_rate"]["low"] <= written["error_rate"]["high"] <= 1


def test_only_the_present_question_is_answered_and_only_with_a_known_word(
    session: LabellingSession,
) -> None:
    with session:
        question = session.next_question()
        assert question is not None
        for wrong in ((question + 1, "same"), (question, "perhaps")):
            with pytest.raises(EvaluationError, match="reload the page"):
                session.answer(*wrong)  # type: ignore[arg-type]
        assert session.num_answers == 0


def test_an_answer_that_cannot_be_written_is_not_taken(
    session: LabellingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space left")

    with session:
        question = session.next_question()
        assert question is not None
        with monkeypatch.context() as patched:
            patched.setattr(labelling, "atomic_write", full)
            with pytest.raises(StorageError):
                session.answer(question, "same")
        assert session.num_answers == 0
        session.answer(question, "same")
        assert session.num_answers == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"answers": 3}', '{"run": "x", "answers": []}'])
def test_answers_about_something_else_are_refused_and_kept(
    tiny_run: str, tmp_path: Path, content: str
) -> None:
    (tmp_path / ANSWERS_NAME).write_text(content)
    with pytest.raises(EvaluationError, match=ANSWERS_NAME):
        LabellingSession.opened(tiny_run, domain=None, to=tmp_path)
    assert (tmp_path / ANSWERS_NAME).read_text() == content


def test_a_second_process_is_refused(session: LabellingSession, tiny_run: str) -> None:
    with session, pytest.raises(EvaluationError, match="another process"):
        LabellingSession.opened(tiny_run, domain=None, to=session.folder)


def test_the_page_shows_a_pair_and_counts_answers(session: LabellingSession) -> None:
    with session:
        routes = label_routes(session, num_questions=2)
        state = json.loads(routes["GET", "question"](Request(query={}, body=b"")).body)
        assert (state["answered"], state["total"], state["done"]) == (0, 2, False)
        left, right = session.images_of(state["question"])
        for side, jpeg in (("left", left), ("right", right)):
            shown = routes["GET", "image"](Request(query={"side": side}, body=b""))
            assert (shown.kind, shown.body) == ("image/jpeg", bytes(jpeg))
        for body in (b"", b"[]", b'{"question": "x", "answer": 1}'):
            assert routes[POST](Request(query={}, body=body)).status == 400
        for _ in range(2):
            given = {"question": state["question"], "answer": "same"}
            answered = routes[POST](Request(query={}, body=json.dumps(given).encode()))
            state = json.loads(answered.body)
        assert state["done"]
        assert "shows the same person" in state["result"]


@pytest.mark.slow
def test_a_browser_can_answer(session: LabellingSession, tmp_path: Path) -> None:
    with session, LocalPage(label_routes(session, num_questions=2)) as page:
        thread = threading.Thread(target=page.serve)
        thread.start()
        with Chromium(tmp_path / "chromium") as browser:
            browser.open(page.address)
            browser.wait("document.getElementById('left').naturalWidth > 0")
            browser.run("document.querySelector('[data-answer=same]').click()")
            browser.wait("document.getElementById('count').textContent.startsWith('1 of 2')")
        page.stop()
        thread.join()
        assert session.num_answers == 1


@pytest.mark.slow
def test_the_command_says_what_was_measured(tiny_run: str, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    words = [sys.executable, "launch.py", "label", "--checkpoint", str(tiny_run)]
    with subprocess.Popen(
        [*words, "--to", str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.findall(r"http://\S+/", line)[0]
        path = urlsplit(address).path
        question = json.loads(ask(address, f"{path}question")[1])["question"]
        given = json.dumps({"question": question, "answer": "different"}).encode()
        assert ask(address, f"{path}answer", method="POST", body=given)[0] == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "0 same, 1 different, 0 could not be told" in rest
    assert open_store(str(folder)).exists(RESULT_NAME)
