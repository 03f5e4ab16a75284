"""The page of licences and the SBOM are of what the lock installs, and no licence comes unseen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from docs.licences import PAGE, Package, installed, is_allowed, licences_page, locked

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packages() -> list[Package]:
    return installed()


def test_the_page_is_of_what_is_installed(packages: list[Package]) -> None:
    assert licences_page(packages) == PAGE.read_text(), "run: make licences"
    names = {each.name for each in locked() if each.marker is None or each.marker.evaluate()}
    assert {package.name for package in packages} == names


def test_every_licence_is_allowed(packages: list[Package]) -> None:
    assert [package for package in packages if not is_allowed(package)] == []


@pytest.mark.parametrize(
    ("name", "licence", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "Apache-2.0 AND MIT", True),
        ("a", "GPL-3.0-only OR BSD-3-Clause", True),
        ("a", "Apache Software License; BSD License", True),
        ("nvidia-nccl-cu13", "LicenseRef-NVIDIA-Proprietary", True),
        ("a", "LicenseRef-NVIDIA-Proprietary", False),
        ("a", "MIT AND GPL-3.0-only", False),
        ("a", "AGPL-3.0", False),
        ("a", "UNKNOWN", False),
    ],
)
def test_a_licence_outside_the_list_is_refused(name: str, licence: str, allowed: bool) -> None:
    package = Package(name=name, licence=licence, url="")
    assert is_allowed(package) == allowed


@pytest.mark.slow
def test_the_sbom_has_every_locked_package_with_its_version_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    installed_before = ("-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}")
    made = ["make", *installed_before, "sbom", f"SBOM={path}"]
    subprocess.run(made, cwd=ROOT, check=True, capture_output=True)
    sbom = json.loads(path.read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "daam"
    found = {(each["name"], f"=={each['version']}") for each in sbom["components"]}
    assert found == {(each.name, str(each.specifier)) for each in locked()}
    for component in sbom["components"]:
        (place,) = component["externalReferences"]
        assert {each["alg"] for each in place["hashes"]} == {"SHA-256"}
