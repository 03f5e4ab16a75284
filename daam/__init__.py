"""daam: unsupervised cross-domain person re-identification, trained and tuned on a Ray cluster.

The public API is what `__all__` names; `daam.api` holds or collects it. Importing this package
alone is instant: PyTorch and the rest are imported when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daam.api import (
        Assessment,
        Config,
        DaamError,
        Domain,
        Embeddings,
        Evaluation,
        Exported,
        SearchResult,
        StepProgress,
        TrainedRun,
        embed,
        evaluate,
        export,
        import_domain,
        load_config,
        render_domain,
        search,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "Assessment",
    "Config",
    "DaamError",
    "Domain",
    "Embeddings",
    "Evaluation",
    "Exported",
    "SearchResult",
    "StepProgress",
    "TrainedRun",
    "embed",
    "evaluate",
    "export",
    "import_domain",
    "load_config",
    "render_domain",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("daam.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
