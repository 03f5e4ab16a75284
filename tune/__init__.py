"""Which settings to try: the search over transfers, and the study that holds it.

settings    of a study: transfers, space, starting points; budget: when it is spent
domains     can they give the scores that a study needs?
proposals/  what is tried
search/     how it is tried: Optuna proposes, Ray Tune runs
contenders/ which of the tried is best: race and final comparison
folder/     what is stored, and how a study resumes
study       search, race, comparison; session adds the report around them
progress    the state of a running study; dashboard serves it
report/     the results as page, tables and figures
"""
