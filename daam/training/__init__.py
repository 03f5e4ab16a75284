"""Training: `fit` yields a report per epoch.

loop           epochs; step: one batch; batches: which batches an epoch has
objective      all losses of a step, weighted; schedule: weights and rates over time
relabel        pseudo-labels, made at the start of an epoch; teacher: the moving average
state          a run's state for a checkpoint; collectives: what ranks do together
source_stage   whether and how another run's source stage becomes this run's
setup          from settings to a run; scoring: retrieval tests and diagnostics
"""
