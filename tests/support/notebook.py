"""Run a notebook's code cells in order, and store what they show in it.

python -m tests.support.notebook NOTEBOOK           runs them
python -m tests.support.notebook NOTEBOOK --store   and writes their outputs into the file

The Jupyter packages would do the same with fifty more packages in the lock. Cells must be plain
Python, without magics.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

FORMATS = {"image/jpeg": "_repr_jpeg_", "text/html": "_repr_html_"}


def main(path: str, *options: str) -> None:
    """Run the notebook at a path; an exception of a cell is raised."""
    notebook = json.loads(Path(path).read_text())
    variables: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        cell["outputs"] = run_cell("".join(cell["source"]), variables, number=number)
        cell["execution_count"] = number
    if "--store" in options:
        Path(path).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def run_cell(source: str, variables: dict[str, Any], *, number: int) -> list[dict[str, Any]]:
    """Run one cell; return what it prints and the value of its last line as notebook outputs."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    name = f"cell {number}"
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), variables)  # noqa: S102  (our own notebook)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), variables)  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    if value is not None:
        outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": number,
                "data": shown(value),
                "metadata": {},
            }
        )
    return outputs


def shown(value: Any) -> dict[str, str]:
    """A value as notebooks show it: text, and a picture or HTML where it has one."""
    data = {"text/plain": repr(value)}
    for kind, method in FORMATS.items():
        if hasattr(value, method):
            content = getattr(value, method)()
            data[kind] = (
                base64.b64encode(content).decode() if isinstance(content, bytes) else content
            )
    return data


if __name__ == "__main__":
    main(*sys.argv[1:])
