"""Which settings to try: the search over transfers, and the study that holds it.

settings   of a study: transfers, budget; space: what is searched, over which values
domains    can they give the scores that a study needs?
study      search, then final comparison; session adds the report around it
search     Optuna proposes, Ray Tune runs; trial is one trial, launching its place on the cluster
racing     the race between the best trials: its rule; repeats runs it
contenders the final comparison; paired how sure a difference is
folder     what is stored; watch the progress events
report/    the results as page, tables and figures
"""
