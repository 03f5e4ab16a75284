"""The colours of every picture and report: Okabe and Ito's, distinct under colour blindness."""

PAPER, INK, GREY = "#ffffff", "#26262a", "#686870"
LINE, PALE = "#dedee2", "#c8c8ce"
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, CHARCOAL, OLIVE = "#e69f00", "#56b4e9", "#3c3c42", "#aa9600"
PALE_BLUE = "#a6cde6"

CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, CHARCOAL, OLIVE)
"""For categories, in this order."""

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2", "6 2 1 2")
"""Of lines, beside their colours: SVG's `stroke-dasharray`."""

LIGHT_PAGE = {
    "paper": PAPER,
    "ink": INK,
    "grey": GREY,
    "line": LINE,
    "pale": PALE,
    "blue": BLUE,
    "pale-blue": PALE_BLUE,
    **{f"series-{number}": colour for number, colour in enumerate(CYCLE, start=1)},
}
"""The variables of a page's CSS."""

DARK_PAGE = {
    "paper": "#17171a",
    "ink": "#ececf0",
    "grey": "#a0a0aa",
    "line": "#3a3a40",
    "pale": "#55555d",
    "blue": SKY,
    "pale-blue": "#2f6f96",
    **{
        f"series-{number}": colour
        for number, colour in enumerate(
            (SKY, "#f28a3c", "#2fc598", "#e3a5c7", "#f2c14e", "#a6cde6", "#c4c4cc", "#c9b840"),
            start=1,
        )
    },
}
