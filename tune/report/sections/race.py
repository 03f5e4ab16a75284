"""The section of the report about the race between the best trials."""

from html import escape

from daam.plots.page import NONE, html_table, percent
from tune.contenders.racing import CONFIDENCE, Dropout, Race, instances
from tune.report.record import StudyRecord


def race_section(record: StudyRecord) -> str:
    """Return the table of the race, and how it ended; empty without one."""
    race = record.race
    if race is None:
        return ""
    how = record.config.study.aggregate
    seeds = list(race.scores[race.winner])
    dropouts = {dropout.trial: dropout for dropout in race.dropouts}
    trials = sorted(race.means, key=lambda trial: (trial != race.winner, -race.means[trial]))
    rows = [
        [
            str(trial),
            percent(race.means[trial]),
            *(seed_cell(race, trial, seed, how=how) for seed in seeds),
            escape(outcome(dropouts.get(trial), is_winner=trial == race.winner)),
        ]
        for trial in trials
    ]
    table = html_table(
        ["Trial", "Mean", *(f"Seed {seed}" for seed in seeds), "Outcome"],
        rows,
        strong=[trial == race.winner for trial in trials],
        num_texts=1,
        kind="sticky",
    )
    return (
        f"<h2>The best trials, repeated</h2><p>{escape(race_in_words(race))}</p>{table}"
        f'<p class="note">Scores are the {how} over the transfers; seed {seeds[0]} is the search. '
        f"A trial drops out when the {CONFIDENCE:.0%} interval of its paired differences to the "
        "leader, over transfers and seeds, is below zero (t-test).</p>"
    )


def race_in_words(race: Race) -> str:
    """Return how a race ended."""
    num_seeds = len(race.scores[race.winner])
    if race.is_decided:
        return f"Trial {race.winner} is ahead of the others after {num_seeds} seeds."
    left = len(race.means) - len(race.dropouts)
    return (
        f"Trial {race.winner} has the best mean over {num_seeds} seeds; between it and "
        f"{left - 1} other{'s' if left > 2 else ''} the race is not decided."
    )


def outcome(dropout: Dropout | None, *, is_winner: bool) -> str:
    """Return what became of a trial in the race."""
    if is_winner:
        return "won"
    if dropout is None:
        return "cannot be told from the winner"
    if dropout.behind is None:
        return f"failed with seed {dropout.seed}: {dropout.failure}"
    points = 100 * dropout.behind.mean
    return f"{points:.1f} points behind trial {dropout.leader} after seed {dropout.seed}"


def seed_cell(race: Race, trial: int, seed: int, *, how: str) -> str:
    """Return a trial's score with a seed, over its transfers."""
    by_seed = race.scores[trial]
    if seed not in by_seed:
        return NONE
    scores = instances({seed: by_seed[seed]}, how=how)
    return percent(sum(scores) / len(scores))
