"""Results of a run as they lie in its folder."""

SCORES = {
    "mean_average_precision": 0.5321,
    "mean_inp": 0.21,
    "cmc": {"1": 0.61, "5": 0.74},
    "num_queries": 20,
    "num_left_out": 2,
    "calibration": {"threshold": 0.3214, "false_match_rate": 0.001},
}
LABELLED = {
    "num_same": 31,
    "num_different": 17,
    "error_rate": {"value": 0.3, "low": 0.21, "high": 0.4},
    "threshold": {"value": 0.41, "low": 0.35, "high": 0.47},
    "allowed": 0.1,
}
NO_THRESHOLD = {"value": 0.0, "low": 0.0, "high": 0.0}
ASSESSED = {
    "ranking_score": 0.625,
    "estimate": {"mean_average_precision": 0.375, "low": 0.25, "high": 0.5},
}
