"""A study from its folder to its report: search, comparison, baseline, files."""

from dataclasses import dataclass

from daam.commit import source_commit
from daam.domains import Transfer
from daam.errors import DaamError, FencedError
from daam.inference.evaluation import colour_histogram_scores
from daam.storage import Store
from tune.folder.events import history_of, outages_as_events
from tune.folder.folder import how_to_resume
from tune.report.comparison import Comparison, compare
from tune.report.files import write_report
from tune.report.live import LiveReport
from tune.report.provenance import library_versions
from tune.search.metrics import StudyMetrics
from tune.search.watch import StudyWatch
from tune.settings import StudyConfig
from tune.study import run_study

FILES = ("study.json", "best.toml", "trials.csv", "report.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """What the command prints at the end of a study."""

    comparison: Comparison | None
    files: list[str]


def finish_study(
    config: StudyConfig,
    folder: Store,
    *,
    watch: StudyWatch,
    seconds: dict[str, float],
) -> StudySummary:
    """Run the rest of a study and write its report.

    Ray must be connected.

    Args:
        config: settings of the study.
        folder: the study's folder.
        watch: receives progress.
        seconds: duration of earlier phases, for the report.
    """
    report = LiveReport(config, folder, watch=StudyMetrics(config.study.name, watch=watch))
    try:
        with outages_as_events(report.event):
            result = run_study(config, folder, watch=report)
    except FencedError:
        raise  # the page is the other driver's now
    except (DaamError, KeyboardInterrupt) as error:
        report.stopped(str(error) or stopped_in_words(folder))
        raise
    baseline = None
    if config.is_measured:
        domain = Transfer.parse(config.study.holdout).target
        baseline = colour_histogram_scores(config.run, domain=domain).as_document()
    report.store_history()
    history = history_of(folder)
    seconds = seconds | {"study": history.seconds}
    write_report(
        result,
        folder,
        seconds=seconds,
        baseline=baseline,
        versions=library_versions(),
        commit=source_commit(),
        history=history,
    )
    return StudySummary(
        comparison=compare(config, result.contenders, baseline=baseline),
        files=[folder.locate(name) for name in FILES],
    )


def stopped_in_words(folder: Store) -> str:
    """Return that a study was stopped, and how to resume it."""
    return f"the study was stopped; {how_to_resume(folder)}"
