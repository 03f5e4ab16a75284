"""What a run looks like to its reader, from its folder alone.

page              report.html of one run
learning_curves   the charts in it, of one run or several
comparison        several runs beside each other: a table, and a page
"""
