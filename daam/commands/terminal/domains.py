"""The domains of a run or study, checked before it starts; those of the demo are rendered."""

from daam.commands.terminal.screen import console, progress_bars
from daam.config.schema import RunConfig
from daam.domains import Split


def ready_domains(config: RunConfig, needed: dict[str, set[Split]]) -> None:
    """Check that a run's domains exist; render missing ones of the demo, with progress bars."""
    from daam.runs.preparation import prepare_domains

    with progress_bars("rendering") as advance:
        rendered = prepare_domains(config, needed, progress=advance)
    if rendered:
        console.print(f"rendered {', '.join(rendered)} into {config.data.root}", highlight=False)
