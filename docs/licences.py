"""Write docs/licences.md: the licence of each package that daam installs, as pip-licenses finds it.

`make licences` runs it; a test refuses a stale page and a licence that is not in `ALLOWED`.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parent / "licences.md"
LOCK = Path(__file__).parents[1] / "requirements.lock"

# May be used and distributed with a program under any licence, a proprietary one too; MPL-2.0 asks
# for the source of its own files alone.
PERMISSIVE = {
    "0BSD",
    "3-Clause BSD License",
    "Apache 2.0",
    "Apache Software License",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "ISC License (ISCL)",
    "MIT",
    "MIT License",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0",
    "Python Software Foundation License",
    "Zlib",
}
# Only of NVIDIA's own libraries, which PyTorch needs on Linux: free to use and, in part, to
# distribute, under NVIDIA's terms.
NVIDIA = {"LicenseRef-NVIDIA-Proprietary", "NVIDIA Proprietary Software"}
# Packages that do not name their licence: this one only depends on others, and has no files.
NAMED_HERE = {"cuda-toolkit": "LicenseRef-NVIDIA-Proprietary"}

HEADER = """\
# Licences

daam is under the [Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0). Below are the
packages of `requirements.lock` that it installs on Linux, with all extras but those of trackers,
under the licence that each names; they may bundle libraries with licences of their own. Tools for
development are not distributed with daam and not listed. Written by `make licences` (pip-licenses).

NVIDIA's libraries come with PyTorch's wheels for Linux and are under NVIDIA's own terms. A machine
without a GPU does not need them: PyTorch's builds for CPUs come without them.

| Package | Licence |
|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed package, and the licence that it names."""

    name: str
    licence: str
    url: str


def locked() -> list[Requirement]:
    """All that is in requirements.lock, for any platform and version of Python."""
    return list(map(Requirement, re.findall(r"^[\w.-]+==[^\\\n]+", LOCK.read_text(), re.M)))


def installed() -> list[Package]:
    """The packages of requirements.lock that are installed here, by name."""
    names = [each.name for each in locked() if each.marker is None or each.marker.evaluate()]
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--with-urls", "--with-system"]
    found = subprocess.run(
        [*command, "--packages", *names], check=True, capture_output=True, text=True
    )
    packages = [
        Package(
            name=canonicalize_name(each["Name"]),
            licence=NAMED_HERE.get(each["Name"]) or each["License"],
            url=each["URL"],
        )
        for each in json.loads(found.stdout)
    ]
    return sorted(packages, key=lambda package: package.name)


def is_allowed(package: Package) -> bool:
    """Whether each of its licences, or one of those that it offers, is allowed."""
    allowed = PERMISSIVE | NVIDIA if package.name.startswith(("nvidia-", "cuda-")) else PERMISSIVE
    choices = [re.split(r" AND |; ", choice) for choice in package.licence.split(" OR ")]
    return any(set(licences) <= allowed for licences in choices)


def licences_page(packages: list[Package]) -> str:
    """The page for some packages."""
    rows = [f"| [{each.name}]({each.url}) | {each.licence} |\n" for each in packages]
    return HEADER + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(licences_page(installed()))
