"""`daam label`: a person answers questions about pairs, for a measured error rate."""

from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import TypeAdapter

from daam.commands.terminal.options import AsJson, Checkpoint, MovedTo
from daam.commands.terminal.screen import print_json, print_line, quiet_libraries
from daam.commands.web.local_page import LocalPage, Request, Response, json_response
from daam.documents import Count, MalformedError, parse_json
from daam.errors import ConfigError
from daam.storage import open_store

if TYPE_CHECKING:
    from daam.commands.web.local_page import Route
    from daam.inference.labelling import LabellingSession

SIDES = {"left": 0, "right": 1}


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """What the page sends."""

    question: Count
    answer: Literal["same", "different", "unsure"]


GIVEN = TypeAdapter(GivenAnswer)


def label(
    checkpoint: Checkpoint,
    domain: Annotated[
        str | None, typer.Option(help="Domain to ask about; default: the target.")
    ] = None,
    at: MovedTo = None,
    to: Annotated[str | None, typer.Option(help="Local folder for the answers.")] = None,
    questions: Annotated[int, typer.Option(min=5, max=1000, help="Pairs to ask about.")] = 50,
    port: Annotated[int, typer.Option(help="Port on this machine; 0 for a free one.")] = 0,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Ask a person about a few pairs of images, and measure how often the model is right.

    A page on this machine shows two images at a time: same person, different, or can't tell.
    """
    from daam.inference.labelling import RESULT_NAME, LabellingSession
    from daam.runs.results import record_result

    quiet_libraries()
    folder = to or f"runs/labels/{open_store(checkpoint).name}-{domain or 'target'}"
    if "://" in folder:
        raise ConfigError("--to: answers are written into a folder of this machine; name one")
    with LabellingSession.opened(checkpoint, domain=domain, to=folder, data_root=at) as session:
        if session.num_answers:
            print_line(f"{session.num_answers} questions were answered before")
        with LocalPage(label_routes(session, num_questions=questions), port=port) as page:
            print_line(f"Open {page.address} in a browser on this machine; Ctrl-C ends it.")
            with suppress(KeyboardInterrupt):
                page.serve()
        found = session.result()
        if found is None:
            print_line("No answers, so nothing was measured.")
        else:
            print_line(
                f"{found.num_same} same, {found.num_different} different, {found.num_unsure} could "
                f"not be told. {found.in_words()}"
            )
            print_line(f"  {folder}/{RESULT_NAME}")
            document = session.as_document()
            run = open_store(checkpoint)
            record_result(run, domain=document["domain"], kind="labelled", document=document)
        if as_json:
            print_json(session.as_document())


def label_routes(
    session: "LabellingSession", *, num_questions: int
) -> dict[tuple[str, str], "Route"]:
    """What the page asks and is answered."""
    import threading

    lock = threading.Lock()  # a browser asks several things at once

    def state() -> Response:
        found = session.result()
        total = min(num_questions, session.num_pairs)
        return json_response(
            {
                "question": session.next_question(),
                "answered": session.num_answers,
                "total": total,
                "done": session.num_answers >= total,
                "result": None if found is None else found.in_words(),
            }
        )

    def page(_: Request) -> Response:
        return Response(body=(files("daam.commands.web") / "label.html").read_bytes())

    def question(_: Request) -> Response:
        with lock:
            return state()

    def image(request: Request) -> Response:
        with lock:
            asked = session.next_question()
            side = SIDES.get(request.query.get("side", ""))
            if asked is None or side is None:
                return json_response({"error": "there is no such image"}, status=404)
            return Response(body=bytes(session.images_of(asked)[side]), kind="image/jpeg")

    def answer(request: Request) -> Response:
        with lock:
            try:
                given = parse_json(request.body, GIVEN)
            except MalformedError as error:
                return json_response({"error": f"no answer: {error}"}, status=400)
            session.answer(given.question, given.answer)
            return state()

    def undo(_: Request) -> Response:
        with lock:
            session.undo()
            return state()

    return {
        ("GET", ""): page,
        ("GET", "question"): question,
        ("GET", "image"): image,
        ("POST", "answer"): answer,
        ("POST", "undo"): undo,
    }
