"""The actors that Ray Tune trains in, and the names by which Ray shows them."""

import secrets
from collections.abc import Callable
from typing import Any

from ray.tune import PlacementGroupFactory, Trainable
from ray.tune.trainable import wrap_function
from ray.util.placement_group import PlacementGroup, placement_group


def named_actor(
    function: Callable[[dict[str, Any]], None], *, name_of: Callable[[dict[str, Any]], str]
) -> type[Trainable]:
    """Return the class of an actor that runs a function, shown by the name of its first run.

    Ray asks an actor what it is once, after its start, and the process of a finished run is used
    for the next one. Which that is, the title of the process says.

    Args:
        function: trains one run.
        name_of: maps the function's argument to the run's name.
    """

    class Runs(wrap_function(function)):
        def __repr__(self) -> str:
            return f"{name_of(self.config)} and later runs"

    Runs.__qualname__ = "Runs"  # what Ray shows as the class
    return Runs


class Slot(PlacementGroupFactory):
    """Resources that are held for one run after another, under the study's name.

    No two placement groups may have the same one, so a random part is added.

    Args:
        resources: of one run.
        study: its name.
    """

    def __init__(self, resources: dict[str, float], *, study: str) -> None:
        super().__init__([resources])
        self.study = study

    def to_placement_group(self) -> PlacementGroup:
        """Ask Ray for the resources."""
        name = f"{self.study}/slot-{secrets.token_hex(3)}"
        return placement_group(self.bundles, self.strategy, name=name)
