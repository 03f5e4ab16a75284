"""The sections of the report about hosts and faults, and the newest lines of the progress."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from daam.plots.page import NONE, html_table
from tune.events import DRIVER, HOST_JOINED, HOST_LOST, TRAINS_ON
from tune.report.record import StudyRecord

NUM_EVENTS = 30
MAX_RUNS = 12
"""Of a host, how many are named."""


def hosts_section(record: StudyRecord) -> str:
    """Return which hosts trained what, and what went wrong; empty before the first event."""
    hosts = hosts_table(record.events)
    faults = [event for event in record.events if event["kind"] != TRAINS_ON]
    if not hosts and not faults:
        return ""
    left_out = max(0, len(faults) - NUM_EVENTS)
    earlier = f" The {left_out} before are in events.jsonl." if left_out else ""
    rows = [
        [escape(in_words(event["time"])), mark(event["kind"]), escape(event["text"])]
        for event in reversed(faults[-NUM_EVENTS:])
    ]
    happened = html_table(["Time", "", "What"], rows, num_texts=3) if rows else ""
    return (
        f"<h2>Hosts and faults</h2>{hosts}<h3>What happened</h3>"
        f'<p class="note">Newest first. A restarted run continues from its last checkpoint and '
        f"ends with the same numbers.{earlier}</p>{happened}"
    )


def hosts_table(events: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the hosts that runs have trained on; empty if there is none."""
    runs: dict[str, dict[str, None]] = {}
    faults: dict[str, int] = {}
    lost: dict[str, bool] = {}
    for event in events:
        for host in filter(None, event.get("host", "").split(",")):
            if event["kind"] == TRAINS_ON:
                runs.setdefault(host, {})[event["run"]] = None
                lost[host] = False
            elif "restart" in event:
                faults[host] = faults.get(host, 0) + 1
            if event["kind"] in (HOST_LOST, HOST_JOINED):
                lost[host] = event["kind"] == HOST_LOST
    rows = []
    for host, trained in sorted(runs.items()):
        names = list(trained)
        more = f" and {len(names) - MAX_RUNS} before" if len(names) > MAX_RUNS else ""
        rows.append(
            [
                escape(host),
                "lost" if lost[host] else "",
                escape(", ".join(names[-MAX_RUNS:]) + more),
                str(len(names)),
                str(faults[host]) if host in faults else NONE,
            ]
        )
    if not rows:
        return ""
    return html_table(["Host", "", "Trained", "Runs", "Restarts"], rows, num_texts=3)


def log_section(record: StudyRecord) -> str:
    """Return the newest lines of the progress of a study that is not over."""
    if not record.lines:
        return ""
    text = escape("\n".join(reversed(record.lines)))
    return f'<h2>Log</h2><p class="note">The newest lines first.</p><pre class="log">{text}</pre>'


def mark(kind: str) -> str:
    """Return a kind of event as HTML, with a dot in the colour of its weight."""
    colour = "var(--series-2)" if kind not in (DRIVER, HOST_JOINED) else "var(--pale)"
    words = escape(kind.replace("_", " "))
    return f'<span class="state" style="--state: {colour}">{words}</span>'


def in_words(time: str) -> str:
    """Return a time in ISO 8601 without its zone, to the second."""
    return time[:19].replace("T", " ")
