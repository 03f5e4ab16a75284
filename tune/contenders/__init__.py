"""Which of the tried settings is best, and how sure that is.

racing   the rule of the race between the best trials; repeats runs it
final    the comparison on transfers that the search has not seen
paired   intervals of paired differences
"""
