"""A table in a page of the docs, whose rows are measured by a command."""

from collections.abc import Sequence
from pathlib import Path


def write_rows(page: Path, rows: Sequence[Sequence[str]], *, head: Sequence[str], of: str) -> None:
    """Put rows into the table between a page's comments `OF: begin` and `OF: end`.

    Rows of the same first cell are replaced, others are kept.
    """
    begin, end = f"<!-- {of}: begin -->", f"<!-- {of}: end -->"
    before, found, rest = page.read_text().partition(begin)
    table, also_found, after = rest.partition(end)
    if not (found and also_found):
        raise ValueError(f"{page} has no {begin} ... {end} to put a table between")
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    by_name = {line.split("|")[1].strip(): line for line in lines}
    by_name |= {row[0]: f"| {' | '.join(row)} |" for row in rows}
    ruler = f"|{'---|' * len(head)}"
    text = "\n".join([f"| {' | '.join(head)} |", ruler, *by_name.values()])
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
