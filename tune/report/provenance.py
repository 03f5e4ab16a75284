"""What made a study: the versions of Python, daam and the libraries."""

import platform
from importlib.metadata import PackageNotFoundError, version

import daam

LIBRARIES = ("ray", "torch", "torchvision", "optuna", "pyarrow", "numpy")


def library_versions() -> dict[str, str]:
    """Return the versions of Python, daam and the libraries, without importing them.

    A library that is not installed is left out.
    """
    versions = {"python": platform.python_version(), "daam": daam.__version__}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions
