"""A study's report: one HTML page in its folder, written at its start and renewed while it runs."""

import json
import time
from collections import Counter
from html import escape

from daam.inference.assessment import measured_choice
from daam.inference.unlabelled import RANKING_SCORE
from daam.plots.page import arrow, duration, html_facts, html_page
from tune.progress import StudyProgress
from tune.report.charts.contenders import contender_charts
from tune.report.record import StudyRecord
from tune.report.sections.comparison import comparison_section
from tune.report.sections.cost import cost_section
from tune.report.sections.hosts import hosts_section, log_section
from tune.report.sections.race import race_section
from tune.report.sections.search import search_section
from tune.report.sections.settings import settings_section
from tune.report.sections.trials import ended_section, front_section, trials_section
from tune.report.trials import STATE_WORDS
from tune.settings import LABEL_FREE, StudySettings

REPORT = "report.html"
RENEWED_EVERY_S = 5
SILENT_S = 120
LABEL_FREE_SCORES = RANKING_SCORE.removesuffix("ranking_score")  # prefix of a run's metrics
SILENT = """
setTimeout(() => {{
  const minutes = Math.round((Date.now() / 1000 - {now}) / 60);
  if (minutes * 60 >= {silent})
    document.getElementById("status").append(
      " It was last renewed " + minutes + " minutes ago: its driver may have been stopped.");
}}, 0);
"""


def report_page(record: StudyRecord) -> str:
    """Return the whole page; while the study runs, it reloads itself every five seconds."""
    title = f"Study {record.config.study.name}"
    running = record.progress is not None
    return html_page(
        [
            f"<h1>{escape(title)}</h1>",
            '<p class="subtitle">Search for the hyper-parameters of a person re-identification '
            "model that adapts to a domain without labels</p>",
            status_section(record),
            summary(record),
            comparison_section(record),
            contender_charts(record.epochs),
            settings_section(record),
            race_section(record),
            search_section(record),
            front_section(record),
            hosts_section(record),
            log_section(record),
            cost_section(record),
            ended_section(record),
            trials_section(record),
        ],
        title=title,
        has_dark=True,
        reload_s=RENEWED_EVERY_S if running else None,
    )


def status_section(record: StudyRecord) -> str:
    """Return where a study stands that has not ended; empty for one that has."""
    if record.progress is not None:
        now = time.time()
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        script = SILENT.format(now=json.dumps(round(now)), silent=SILENT_S)
        return (
            f'<p class="status" id="status">{escape(progress_in_words(record.progress))} '
            f"Written at {clock}; the page reloads itself.</p><script>{script}</script>"
        )
    reason = record.stopped
    return f'<p class="status">{escape(reason[0].upper() + reason[1:])}.</p>' if reason else ""


def progress_in_words(progress: StudyProgress) -> str:
    """Return what is done, what is running and how long is left."""
    seconds = progress.seconds_left()
    running = ", ".join(
        f"{run.name} (epoch {run.epoch} of {run.num_epochs})" for run in progress.not_over()
    )
    left = "" if seconds is None else f", about {duration(seconds)} left"
    return (
        f"Running, {progress.title or 'starting'}: {progress.over_in_words()}"
        f"{left}. {f'In progress: {running}.' if running else ''}"
    )


def limits_in_words(study: StudySettings) -> str:
    """Return how many trials there may be, in what time."""
    limits = [f"{study.num_trials} trials"] if study.num_trials else ["trials"]
    return " ".join([*limits, *([f"in {study.budget}"] if study.budget else [])])


def summary(record: StudyRecord) -> str:
    """Return what was searched, how it was scored, and what it ran on."""
    study, run = record.config.study, record.config.run
    states = Counter(trial.state.name for trial in record.trials)
    counts = ", ".join(f"{count} {STATE_WORDS[state]}" for state, count in states.most_common())
    over = f"{study.aggregate} over these transfers of the "
    num_searched = len(record.config.search)
    rows = {
        "Searched": f"{num_searched} setting{'s' * (num_searched != 1)} on "
        + ", ".join(arrow(transfer) for transfer in study.search_transfers),
        "Score of a trial": over
        + (
            "label-free score of the target, which reads none of its labels"
            if study.score == LABEL_FREE
            else "mAP on validation identities, cut from the target's train split"
        ),
        "Held out": f"{arrow(study.holdout)}, looked at once, after the search"
        if study.holdout
        else "nothing: it is not proven that the settings found are better on a domain that the "
        "search has not seen",
        "Budget": f"{limits_in_words(study)}{f' ({counts})' if counts else ''} of at most "
        f"{run.num_epochs} epochs with {run.optimiser.steps_per_epoch} steps on each transfer; "
        f"seed {study.seed}",
        "Folder": record.uri,
    }
    if choice := choice_in_words(record):
        rows["Choosing by it"] = choice
    if record.seconds:
        phases = ", ".join(f"{name} {duration(value)}" for name, value in record.seconds.items())
        rows["Time"] = f"{duration(sum(record.seconds.values()))} ({phases})"
    if record.versions:
        rows["Code"] = "not a git checkout" if record.commit is None else f"commit {record.commit}"
        rows["Versions"] = ", ".join(
            f"{name} {version}" for name, version in record.versions.items()
        )
    return html_facts(rows)


def choice_in_words(record: StudyRecord) -> str:
    """Return what choosing by the label-free score gave in the benchmark; empty without one."""
    for rows in record.epochs.values():
        for row in rows:
            if RANKING_SCORE in row:
                scores = {
                    name.removeprefix(LABEL_FREE_SCORES): value
                    for name, value in row.items()
                    if name.startswith(LABEL_FREE_SCORES)
                }
                return measured_choice(scores).summary
    return ""
