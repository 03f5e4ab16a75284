"""Domains made ready before a run or study starts, with a bar for each that is rendered."""

from daam.commands.terminal.screen import console, progress_bars
from daam.config.schema import RunConfig
from daam.domains import Split


def ready_domains(config: RunConfig, needed: dict[str, set[Split]]) -> None:
    """See that a run's domains are there, and show the rendering of the demo's."""
    from daam.runs.preparation import prepare_domains

    with progress_bars("rendering") as advance:
        rendered = prepare_domains(config, needed, progress=advance)
    if rendered:
        console.print(f"rendered {', '.join(rendered)} into {config.data.root}", highlight=False)
