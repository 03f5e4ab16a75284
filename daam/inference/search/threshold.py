"""Below which distance two images show one person, as it was measured for a run."""

from dataclasses import dataclass

from daam.runs.results import read_results
from daam.storage import Store


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

    What a person has labelled comes first: it is about this domain as it is now.

    Args:
        run: folder of the run.
        domain: whose images are searched.
        num_epochs: of the run's checkpoint; answers about an earlier one do not count.
    """
    results = read_results(run)
    labelled = results.get((domain, "labelled"))
    if labelled is not None and labelled.get("num_epochs", num_epochs) == num_epochs:
        distance = labelled["threshold"]["value"]
        if distance > 0:  # 0 where no distance is small enough
            return Threshold(distance=distance, source="daam label")
    scores = results.get((domain, "scores"))
    if scores is not None and scores.get("num_epochs", num_epochs) == num_epochs:
        distance = scores.get("calibration", {}).get("threshold")
        if distance:
            return Threshold(distance=distance, source="daam evaluate")
    return None
