"""How it is tried: Optuna proposes, Ray Tune runs.

searcher   Optuna's study as Ray Tune's searcher and scheduler
trial      one trial: its transfers in turn
launching  resources, concurrency, restarts, failures
watch      the events of progress
"""
