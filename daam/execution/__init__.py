"""Everything that knows Ray.

environment   which variables must be set before Ray is imported?
connection    which cluster is used: one started here, or a running one?
driver        how does a run of several workers train, and how does it fail?
trainer       how does a group of Ray Train workers run, and does it fit the cluster?
names         what are jobs and processes called in Ray's dashboard?
metrics       what does Prometheus see of a run?
"""
