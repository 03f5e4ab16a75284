"""Below which distance two images show one person, as it was measured for a run."""

from dataclasses import dataclass

from daam.runs.results import Kind, read_results
from daam.storage import Store

# What a person has labelled comes first: it is about this domain as it is now.
KINDS: tuple[Kind, ...] = ("labelled", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Below which distance two images count as one person, and where that was measured."""

    distance: float
    source: str

    def in_words(self) -> str:
        """What it means, and where it comes from."""
        return f"two images below {self.distance:.4f} are taken for one person ({self.source})"


def measured_threshold(run: Store, *, domain: str, num_epochs: int) -> Threshold | None:
    """Return the threshold that `daam label` or `daam evaluate` measured, if either did.

    Args:
        run: folder of the run.
        domain: whose images are searched.
        num_epochs: of the run's checkpoint; answers about an earlier one do not count.
    """
    results = read_results(run)
    for kind in KINDS:
        document = results.get((domain, kind), {})
        if document.get("num_epochs", num_epochs) != num_epochs:
            continue
        found = document.get("threshold", document.get("calibration", {}).get("threshold"))
        distance = found["value"] if isinstance(found, dict) else found
        if distance:  # 0 where no distance is small enough
            source = {"labelled": "daam label", "scores": "daam evaluate"}[kind]
            return Threshold(distance=float(distance), source=source)
    return None
