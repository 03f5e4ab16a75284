"""The software that computes a run: versions of libraries, and daam's own code."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

# Those that read, decode and compute; the others cannot change a result.
LIBRARIES = ("torchvision", "numpy", "pyarrow", "simplejpeg", "pillow")


@cache
def software() -> dict[str, str]:
    """Return the version of each library, and the SHA-256 of all code of daam."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {
        "daam": digest.hexdigest(),
        "torch": str(torch.__version__),  # with the build, which the package's version leaves out
        **{name: version(name) for name in LIBRARIES},
    }
