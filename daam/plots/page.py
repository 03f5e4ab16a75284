"""The frame of every HTML report: one file that holds all it needs, so nothing is fetched."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from daam.plots import palette

# The browser itself refuses whatever a page of results has no business to do.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
STRONG = ' class="strong"'
NONE = '<span class="faint">–</span>'  # noqa: RUF001 - a dash for an empty cell


def html_page(
    sections: Iterable[str],
    *,
    title: str,
    script: str = "",
    has_dark: bool = False,
    reload_s: int | None = None,
) -> str:
    """Return a whole document.

    Args:
        sections: the body, as HTML.
        title: plain text.
        script: JavaScript that runs before the body.
        has_dark: whether the page follows a browser that prefers dark pages; everything on it must
            then take its colours from the CSS variables.
        reload_s: the browser loads the page again after this time; None: it does not.
    """
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "" if reload_s is None else f'<meta http-equiv="refresh" content="{reload_s}">',
            f"<title>{escape(title)}</title>",
            f"<style>{style(has_dark=has_dark)}</style>",
            f"<script>{script}</script>" if script else "",
            "</head>\n<body>\n<main>",
            *sections,
            "</main>\n</body>\n</html>\n",
        ]
    )


def style(*, has_dark: bool) -> str:
    """Return the CSS of a page, its colours included."""
    scheme = "light dark" if has_dark else "light"
    dark = f"@media (prefers-color-scheme: dark) {{ {variables(palette.DARK_PAGE)} }}\n"
    css = (files("daam.plots") / "page.css").read_text(encoding="utf-8")
    return (
        f":root {{ color-scheme: {scheme}; }}\n{variables(palette.LIGHT_PAGE)}\n"
        f"{dark if has_dark else ''}{css}"
    )


def variables(colours: Mapping[str, str]) -> str:
    """Return a CSS rule that sets the variables of a page."""
    return f":root {{ {' '.join(f'--{name}: {colour};' for name, colour in colours.items())} }}"


def html_facts(rows: Mapping[str, str]) -> str:
    """Return a list of names and values, both plain text."""
    inside = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows.items()
    )
    return f"<dl>{inside}</dl>"


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    strong: Sequence[bool] | None = None,
    num_texts: int,
    kind: str = "",
) -> str:
    """Return a table.

    Args:
        header: plain text.
        rows: cells as HTML.
        strong: which rows stand out; None for none.
        num_texts: columns of text; those after them hold numbers and are set to the right.
        kind: CSS class.
    """
    rows = list(rows)
    strong = [False] * len(rows) if strong is None else strong

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = [""] * num_texts + [' class="number"'] * (len(cells) - num_texts)
        return "".join(
            f"<{tag}{kind}>{cell}</{tag}>" for cell, kind in zip(cells, kinds, strict=True)
        )

    body = "".join(
        f"<tr{STRONG if stands_out else ''}>{line('td', cells)}</tr>"
        for cells, stands_out in zip(rows, strong, strict=True)
    )
    head = line("th", [escape(text) for text in header])
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def duration(seconds: float) -> str:
    """Return a duration in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def arrow(transfer: str) -> str:
    """Return a transfer with a typographic arrow."""
    return transfer.replace("->", " → ")


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f}\u202f%"
