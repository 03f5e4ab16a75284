"""The files for `ray up` are what Ray accepts and what docs/guides/cluster.md promises, offline.

Ray's own validation lets unknown provider keys, unknown EC2 parameters and missing files pass, so
they are checked here. Every check is a function that returns the faults it found: the files in the
repository must have none, and a file broken on purpose must have the one that was put in.
"""

import copy
import importlib.metadata
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

Cluster = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / "cluster").glob("*.yaml"))

# What Ray's providers read. aws_credentials is left out on purpose: keys stay out of files.
KNOWN_PROVIDER_KEYS = {
    "local": {"type", "head_ip", "worker_ips", "external_head_ip"},
    "aws": {
        "type",
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "key_pair",
        "security_group",
        "use_internal_ips",
    },
    "gcp": {
        "type",
        "project_id",
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "use_internal_ips",
    },
}
MADE_ON_THE_MACHINE = {"node.log", ".venv"}
OF_THE_OPERATOR = ("~/.ray/", "~/.config/")
COMMAND_LISTS = (
    "initialization_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
# A path under ~ that follows is where a secret lies, not the secret.
SECRETS = (
    re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"PRIVATE KEY"),
    re.compile(r"(?i)(secret|password|passwd|access_key|auth_token)\w*\s*[=:]\s*[^\s~]"),
    # 40 base64 characters are a secret access key, 32 or more hexadecimal ones a token.
    re.compile(r"(?<![\w/+.-])(?=\S*[a-z])(?=\S*[A-Z])(?=\S*\d)[A-Za-z0-9/+]{40}(?![\w/+.-])"),
    re.compile(r"\b[0-9a-f]{32,}\b"),
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: socket.socket, address: object) -> None:
        raise AssertionError(f"a check of a file connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return read(request.param.stem)


def read(name: str) -> Cluster:
    return yaml.safe_load((REPOSITORY / "cluster" / f"{name}.yaml").read_text())


def prepared(cluster: Cluster) -> Cluster:
    """The cluster as Ray sees it: with Ray's defaults, which add commands of their own."""
    return prepare_config(copy.deepcopy(cluster))


def commands(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for name in COMMAND_LISTS:
        for command in prepared(cluster)[name]:
            yield name, command


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, str(value)


# --- the checks ---------------------------------------------------------------------------------


def unknown_provider_keys(cluster: Cluster) -> list[str]:
    provider = cluster["provider"]
    return sorted(set(provider) - KNOWN_PROVIDER_KEYS[provider["type"]])


def secrets(cluster: Cluster) -> list[str]:
    # "key: value" as one text, so that a telling key is seen together with what it holds.
    texts = [f"{path.rpartition('.')[2]}: {leaf}" for path, leaf in leaves(cluster)]
    return [text for text in texts if any(pattern.search(text) for pattern in SECRETS)]


def missing_files(cluster: Cluster) -> list[str]:
    """Mounted files that are not in the repository, and files in commands that are not mounted."""
    mounts: dict[str, str] = cluster["file_mounts"]
    absent = [
        local
        for local in mounts.values()
        if not local.startswith(OF_THE_OPERATOR) and not (REPOSITORY / local).exists()
    ]
    named = {
        path
        for _, command in commands(cluster)
        for path in re.findall(r"(?:~|\$HOME)/daam/([\w.-]+)", command)
    }
    mounted = {remote.removeprefix("~/daam/") for remote in mounts}
    return absent + sorted(named - mounted - MADE_ON_THE_MACHINE)


def dashboards_beyond_loopback(cluster: Cluster) -> list[str]:
    """Options that change what node.sh gives: the dashboard listens on loopback alone."""
    return [c for _, c in commands(cluster) if "--dashboard-host" in c]


def installs_beside_the_locks(cluster: Cluster) -> list[str]:
    """Python packages that are not from a lock, or whose hashes are not checked."""
    allowed = re.compile(r"pip install [^&;]*--require-hashes -r ~/daam/requirements-gcp\.lock$")
    return [c for _, c in commands(cluster) if "pip install" in c and not allowed.search(c)]


def machines_without_daam(cluster: Cluster) -> list[str]:
    return [
        name
        for name in ("head_setup_commands", "worker_setup_commands")
        if "bash ~/daam/cluster/node.sh install" not in prepared(cluster)[name]
    ]


def starts_beside_node_sh(cluster: Cluster) -> list[str]:
    words = {"head_start_ray_commands": "head", "worker_start_ray_commands": "worker"}
    return [
        command
        for name, command in commands(cluster)
        if name in words
        and not re.match(rf"bash ~/daam/cluster/node\.sh {words[name]}( |$)", command)
    ]


def broken_shell(cluster: Cluster) -> list[str]:
    return [
        command
        for _, command in commands(cluster)
        if subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode
    ]


def opened_ports(cluster: Cluster) -> list[Any]:
    """Rules beyond Ray's own two (ssh, and traffic among the cluster's machines)."""
    return cluster["provider"].get("security_group", {}).get("IpPermissions", [])


def refused_by_ec2(cluster: Cluster) -> list[str]:
    """What RunInstances would not take, by the service description that comes with botocore."""
    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    reports = [
        ParamValidator().validate({"MinCount": 1, "MaxCount": 1} | node["node_config"], shape)
        for node in cluster["available_node_types"].values()
    ]
    return [report.generate_report() for report in reports if report.has_errors()]


def rented_wrongly(cluster: Cluster) -> list[str]:
    """Machines that are lost too early, outlive the cluster, or hold keys instead of a role."""
    faults = []
    for name, node_type in cluster["available_node_types"].items():
        node = node_type["node_config"]
        market = node.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        if market != ("on-demand" if name == cluster["head_node_type"] else "spot"):
            faults.append(f"{name}: {market}")
        if "Name" not in node.get("IamInstanceProfile", {}):
            faults.append(f"{name}: no instance profile")
        disks = [mapping["Ebs"] for mapping in node["BlockDeviceMappings"]]
        if not all(disk["DeleteOnTermination"] and disk["Encrypted"] for disk in disks):
            faults.append(f"{name}: disk")
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            faults.append(f"{name}: metadata")
    return faults


# --- the files in the repository ----------------------------------------------------------------


def test_there_is_a_file_for_each_provider() -> None:
    assert [path.stem for path in FILES] == ["aws", "gcp", "onprem"]


def test_ray_accepts_the_file(cluster: Cluster) -> None:
    validate_config(prepared(cluster))


@pytest.mark.parametrize(
    "faults",
    [
        unknown_provider_keys,
        secrets,
        missing_files,
        dashboards_beyond_loopback,
        installs_beside_the_locks,
        machines_without_daam,
        starts_beside_node_sh,
        broken_shell,
        opened_ports,
    ],
)
def test_no_check_finds_a_fault(faults: Callable[[Cluster], list[str]], cluster: Cluster) -> None:
    assert faults(cluster) == []


@pytest.mark.parametrize("faults", [refused_by_ec2, rented_wrongly])
def test_no_check_finds_a_fault_in_what_is_rented(faults: Callable[[Cluster], list[str]]) -> None:
    assert faults(read("aws")) == []


def test_the_lock_pins_the_ray_that_validated_these_files() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    assert re.findall(r"^ray==(\S+)", lock, re.MULTILINE) == [importlib.metadata.version("ray")]


def test_every_address_is_a_fill_in_value() -> None:
    provider = read("onprem")["provider"]
    addresses = [provider["head_ip"], *provider["worker_ips"]]
    assert all(address.startswith("192.0.2.") for address in addresses)  # RFC 5737
    assert len(set(addresses)) == len(addresses)


def test_the_bucket_region_is_the_machines_region() -> None:
    aws = read("aws")
    regions = re.findall(r"AWS_DEFAULT_REGION=(\S+)", "\n".join(aws["setup_commands"]))
    assert regions == [aws["provider"]["region"]]


def test_the_runbook_quotes_transfers_which_the_shell_would_take_for_redirections() -> None:
    runbook = (REPOSITORY / "cluster" / "README.md").read_text()
    transfers = re.findall(r"--transfer (\S+)", runbook)
    assert transfers
    assert all(re.fullmatch(r'"\w+->\w+"', transfer) for transfer in transfers)


@pytest.mark.parametrize("page", ["cluster/README.md", "docs/guides/cluster.md"])
def test_the_commands_of_a_page_parse(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        subprocess.run(["bash", "-n", "-c", block], check=True)


# --- the checks find what they are for ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("aws", ["max_workers"], -1),
        ("aws", ["max_worker"], 8),
        ("aws", ["head_node_type"], "no such type"),
        ("aws", ["available_node_types", "gpu_worker", "min_workers"], 9),
        ("onprem", ["provider", "worker_ips"], "192.0.2.11"),
        ("onprem", ["auth", "ssh_password"], "hunter2"),
    ],
)
def test_ray_refuses_a_broken_file(name: str, path: list[str], value: object) -> None:
    cluster = prepared(read(name))
    put(cluster, path, value)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(cluster)


@pytest.mark.parametrize(
    ("faults", "path", "value"),
    [
        (unknown_provider_keys, ["provider", "regoin"], "us-west-2"),
        (unknown_provider_keys, ["provider", "aws_credentials"], {}),
        (secrets, ["provider", "aws_access_key_id"], "AKIA" + "Z" * 16),
        (secrets, ["metadata"], {"note": "aB3/" * 10}),
        (secrets, ["metadata"], {"note": "0123456789abcdef" * 2}),
        (secrets, ["metadata"], {"password": "hunter2"}),
        (secrets, ["initialization_commands"], ["export AWS_SECRET_ACCESS_KEY=x"]),
        (secrets, ["initialization_commands"], ["export RAY_AUTH_TOKEN=x"]),
        (secrets, ["initialization_commands"], ["echo '-----BEGIN PRIVATE KEY-----'"]),
        (missing_files, ["file_mounts", "~/daam/other"], "no/such/file"),
        (missing_files, ["initialization_commands"], ["cat ~/daam/other.lock"]),
        (missing_files, ["file_mounts"], {}),
        (
            dashboards_beyond_loopback,
            ["head_start_ray_commands"],
            ["bash ~/daam/cluster/node.sh head --dashboard-host=0.0.0.0"],
        ),
        (installs_beside_the_locks, ["initialization_commands"], ["pip install ray"]),
        (
            installs_beside_the_locks,
            ["initialization_commands"],
            ["pip install -r ~/daam/requirements-gcp.lock"],
        ),
        (machines_without_daam, ["setup_commands"], []),
        (starts_beside_node_sh, ["head_start_ray_commands"], ["ray start --head"]),
        (
            starts_beside_node_sh,
            ["worker_start_ray_commands"],
            ["bash ~/daam/cluster/node.sh head"],
        ),
        (broken_shell, ["initialization_commands"], ["if true; then"]),
        (opened_ports, ["provider", "security_group", "IpPermissions"], [{"FromPort": 8265}]),
        (refused_by_ec2, ["available_node_types", "head", "node_config", "InstanceTyp"], "x"),
        (rented_wrongly, ["head_node_type"], "gpu_worker"),
        (
            rented_wrongly,
            ["available_node_types", "gpu_worker", "node_config", "InstanceMarketOptions"],
            {},
        ),
        (rented_wrongly, ["available_node_types", "head", "node_config", "IamInstanceProfile"], {}),
        (
            rented_wrongly,
            ["available_node_types", "head", "node_config", "BlockDeviceMappings"],
            [{"Ebs": {"DeleteOnTermination": False, "Encrypted": True}}],
        ),
        (rented_wrongly, ["available_node_types", "head", "node_config", "MetadataOptions"], {}),
    ],
)
def test_a_fault_put_into_a_file_is_found(
    faults: Callable[[Cluster], list[str]], path: list[str], value: object
) -> None:
    cluster = read("aws")
    put(cluster, path, value)
    assert faults(cluster)


def test_rays_default_commands_are_found() -> None:
    cluster = read("aws")
    del cluster["head_setup_commands"]
    assert installs_beside_the_locks(cluster) == ["pip install 'boto3>=1.4.8'"]


def put(cluster: Cluster, path: list[str], value: object) -> None:
    *parents, last = path
    inner = cluster
    for key in parents:
        inner = inner[key]
    inner[last] = value
