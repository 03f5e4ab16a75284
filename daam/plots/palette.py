"""The colours of every picture and report: Okabe and Ito's, distinct under colour blindness."""

PAPER, INK, GREY = "#ffffff", "#26262a", "#686870"
LINE, PALE = "#dedee2", "#c8c8ce"
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, CHARCOAL, OLIVE = "#e69f00", "#56b4e9", "#3c3c42", "#aa9600"
PALE_BLUE = "#a6cde6"

CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, CHARCOAL, OLIVE)
"""For categories, in this order."""
