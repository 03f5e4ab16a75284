"""The section about the best settings, and how to use them."""

import shlex
from html import escape

from daam.config.load import setting
from daam.plots.page import html_table
from tune.report.cells import searched, shown
from tune.report.record import StudyRecord
from tune.report.trials import short_names


def settings_section(record: StudyRecord) -> str:
    """Return the settings of the best trial beside the defaults, and the command that uses them."""
    best, best_config = record.best, record.best_config
    if best is None or best_config is None:
        return ""
    config = record.config
    names = short_names(list(config.search))
    rows, same = [], []
    for path, spec in config.search.items():
        default, found = setting(config.run, path), setting(best_config, path)
        if found == default:
            same.append(names[path])
        else:
            name = f'<code title="{escape(path)}">{escape(names[path])}</code>'
            rows.append([name, shown(found), shown(default), searched(spec)])
    parts = [f"<h2>Best settings, from trial {best.number}</h2>"]
    if rows:
        header = ["Setting", "Best", "Default", "Searched"]
        parts.append(html_table(header, rows, num_texts=4, kind="sticky"))
    else:
        parts.append("<p>They are the default settings: no trial scored higher.</p>")
    if rows and same:
        parts.append(
            f'<p class="note">Searched and left at the default: {escape(", ".join(same))}.</p>'
        )
    if record.is_finished:
        parts.append(
            "<h3>Train with them</h3><pre>" + escape("\n".join(train_commands(record))) + "</pre>"
        )
    return "".join(parts)


def train_commands(record: StudyRecord) -> list[str]:
    """Return the commands that train with the best settings on a domain of the user's."""
    transfer = record.config.final_transfer or record.config.study.search_transfers[0]
    best = f"{record.uri}/best.toml"
    commands = []
    if "://" in record.uri:
        commands.append(f"aws s3 cp {shlex.quote(best.partition('?')[0])} best.toml")
        best = "best.toml"
    return [
        *commands,
        "# another transfer: 'SOURCE->TARGET'",
        f"daam train --config {shlex.quote(best)} --transfer {shlex.quote(transfer)} --name best",
    ]
