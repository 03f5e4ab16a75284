"""cluster/gcp.yaml is what Google's API takes, and rents what it promises; offline.

Ray's own provider makes and deletes the machines here, at a Compute Engine that keeps them in a
dictionary and refuses what Google's own description of the service (in its client) does not have.
"""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import googleapiclient
import httplib2
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.gcp.config import bootstrap_gcp
from ray.autoscaler._private.gcp.node_provider import GCPNodeProvider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_NAME, TAG_RAY_USER_NODE_TYPE

from daam.cluster.file import read_cluster_file

Cluster = dict[str, Any]

FILE = Path(__file__).parents[2] / "cluster" / "gcp.yaml"
DESCRIPTIONS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"


@pytest.fixture
def cluster() -> Cluster:
    return read()


def read() -> Cluster:
    return json.loads(json.dumps(yaml.safe_load(FILE.read_text())))


def instance_schema() -> dict[str, Any]:
    """Google's description of an instance, as a JSON schema that refuses unknown fields."""
    described = json.loads((DESCRIPTIONS / "compute.v1.json").read_text())["schemas"]

    def strict(schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{schema['$ref']}"}
        kept = {key: schema[key] for key in ("type", "enum") if key in schema}
        if "items" in schema:
            kept["items"] = strict(schema["items"])
        if "properties" in schema:
            kept["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
            kept["additionalProperties"] = False
        return kept

    definitions = {name: strict(schema) for name, schema in described.items()}
    return {"$ref": "#/$defs/Instance", "$defs": definitions}


INSTANCE = jsonschema.Draft202012Validator(instance_schema())


# --- the checks ---------------------------------------------------------------------------------


def refused_by_compute(cluster: Cluster) -> list[str]:
    return [
        f"{name}: {error.message}"
        for name, node in cluster["available_node_types"].items()
        for error in INSTANCE.iter_errors(node["node_config"])
    ]


def rented_wrongly(cluster: Cluster) -> list[str]:
    """Machines that are lost too early or outlive the cluster."""
    faults = []
    for name, node_type in cluster["available_node_types"].items():
        node = node_type["node_config"]
        scheduling = node.get("scheduling", {})
        is_head = name == cluster["head_node_type"]
        wanted = (None, None) if is_head else ("SPOT", "DELETE")
        model = scheduling.get("provisioningModel"), scheduling.get("instanceTerminationAction")
        if model != wanted:
            faults.append(f"{name}: {model}")
        if not all(disk.get("autoDelete") for disk in node["disks"]):
            faults.append(f"{name}: disk")
        if "CPU" not in node_type["resources"]:
            faults.append(f"{name}: Ray would not know its CPUs")
    return faults


def beyond_least_rights(cluster: Cluster) -> list[str]:
    faults = []
    for name, node_type in cluster["available_node_types"].items():
        accounts = node_type["node_config"].get("serviceAccounts", [])
        scopes = {scope.rpartition("/")[2] for each in accounts for scope in each["scopes"]}
        wanted = {"compute"} if name == cluster["head_node_type"] else set()
        if scopes != wanted or any("-compute@" in each["email"] for each in accounts):
            faults.append(f"{name}: {accounts}")
    return faults


def reached_from_outside(cluster: Cluster) -> list[str]:
    faults = [
        f"{name}: a public address"
        for name, node in cluster["available_node_types"].items()
        for interface in node["node_config"].get("networkInterfaces", [{"accessConfigs": []}])
        if "accessConfigs" in interface
    ]
    for name, node in cluster["available_node_types"].items():
        entries = {each["key"]: each["value"] for each in node["node_config"]["metadata"]["items"]}
        if entries.get("block-project-ssh-keys") != "TRUE" or "ssh-keys" not in entries:
            faults.append(f"{name}: keys of the whole project")
    if "start-iap-tunnel" not in cluster["auth"].get("ssh_proxy_command", ""):
        faults.append("ssh")
    return faults


def other_places(cluster: Cluster) -> list[str]:
    """Projects, regions and zones that are not the provider's: what was filled in only in part."""
    provider = cluster["provider"]
    text = json.dumps([cluster["available_node_types"], cluster["auth"]])
    named = {
        "project_id": r"(?:--project |projects/(?!ubuntu-os)|@)([\w-]+)",
        "region": r"regions/([\w-]+)",
        "availability_zone": r"(?:--zone |zones/)([\w-]+)",
    }
    faults = [
        f"{key}: {found}"
        for key, pattern in named.items()
        for found in re.findall(pattern, text)
        if found != provider[key]
    ]
    if not provider["availability_zone"].startswith(provider["region"]):
        faults.append("the zone is of another region")
    return faults


CHECKS = (
    refused_by_compute,
    rented_wrongly,
    beyond_least_rights,
    reached_from_outside,
    other_places,
)


@pytest.mark.parametrize("faults", CHECKS)
def test_no_check_finds_a_fault(faults: Callable[[Cluster], list[str]], cluster: Cluster) -> None:
    assert faults(cluster) == []


def test_daam_reads_it_as_a_file_of_rented_machines() -> None:
    file = read_cluster_file(FILE)
    assert file.is_rented
    assert file.proxy is not None


HEAD = ("available_node_types", "head", "node_config")
WORKER = ("available_node_types", "gpu_worker", "node_config")


@pytest.mark.parametrize(
    ("faults", "path", "value"),
    [
        (refused_by_compute, (*HEAD, "machinType"), "e2-standard-2"),
        (refused_by_compute, (*WORKER, "scheduling"), [{"preemptible": True}]),
        (refused_by_compute, (*WORKER, "scheduling", "provisioningModel"), "CHEAP"),
        (refused_by_compute, (*HEAD, "disks", 0, "initializeParams", "diskSizeGb"), 60),
        (rented_wrongly, ("head_node_type",), "gpu_worker"),
        (rented_wrongly, (*WORKER, "scheduling"), {}),
        (rented_wrongly, (*WORKER, "scheduling", "instanceTerminationAction"), "STOP"),
        (rented_wrongly, (*HEAD, "disks", 0, "autoDelete"), False),
        (rented_wrongly, ("available_node_types", "gpu_worker", "resources"), {}),
        (
            beyond_least_rights,
            (*HEAD, "serviceAccounts", 0, "scopes"),
            ["https://www.googleapis.com/auth/cloud-platform"],
        ),
        (
            beyond_least_rights,
            (*HEAD, "serviceAccounts", 0, "email"),
            "1-compute@developer.gserviceaccount.com",
        ),
        (beyond_least_rights, (*WORKER, "serviceAccounts"), [{"email": "x", "scopes": ["x/y"]}]),
        (reached_from_outside, (*HEAD, "networkInterfaces", 0, "accessConfigs"), [{}]),
        (reached_from_outside, (*WORKER, "metadata", "items"), []),
        (reached_from_outside, ("auth", "ssh_proxy_command"), ""),
        (other_places, ("provider", "project_id"), "another"),
        (other_places, ("provider", "availability_zone"), "us-central1-b"),
        (other_places, ("provider", "region"), "europe-west4"),
    ],
)
def test_a_fault_put_into_the_file_is_found(
    faults: Callable[[Cluster], list[str]], path: tuple[str | int, ...], value: object
) -> None:
    cluster = read()
    *parents, last = path
    inner: Any = cluster
    for key in parents:
        inner = inner[key]
    inner[last] = value
    assert faults(cluster)


# --- Ray's provider, at a Compute Engine in memory ------------------------------------------------


class Google:
    """Answers the requests that Ray's provider makes, and keeps the instances."""

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.roles: set[str] = set()

    def request(
        self, _: httplib2.Http, uri: str, method: str = "GET", body: Any = None, **_kwargs: object
    ) -> tuple[httplib2.Response, bytes]:
        content = json.loads(body) if body else {}
        answer = self.answer(method, urlsplit(uri).path.strip("/").split("/"), content)
        return httplib2.Response({"status": "200"}), json.dumps(answer).encode()

    def answer(self, method: str, path: list[str], content: dict[str, Any]) -> dict[str, Any]:
        match method, path[-1], path[-2]:
            case "POST", "instances", _:
                INSTANCE.validate(content)
                self.instances[content["name"]] = content | {
                    "status": "RUNNING",
                    "labelFingerprint": "x",
                }
                return {"name": "operation"}
            case "GET", "instances", _:
                return {"items": list(self.instances.values())}
            case "GET", name, "instances":
                return self.instances[name]
            case "DELETE", name, "instances":
                return {"name": "operation"} if self.instances.pop(name) else {}
            case "GET", _, "operations":
                return {"status": "DONE"}
            case "GET", account, "serviceAccounts":
                return {"email": account, "projectId": "my-project"}
            case "POST", verb, _ if verb.endswith(":getIamPolicy"):
                return {"bindings": []}
            case "POST", verb, _ if verb.endswith(":setIamPolicy"):
                self.roles |= {each["role"] for each in content["policy"]["bindings"]}
                return {}
            case "GET", "my-project", "projects":
                return {"lifecycleState": "ACTIVE", "projectId": "my-project"}
        raise AssertionError(f"{method} {'/'.join(path)} is not expected")


def test_rays_provider_rents_and_returns_what_the_file_says(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    google = Google()
    monkeypatch.setattr(
        httplib2.Http, "request", lambda *args, **rest: google.request(*args, **rest)
    )
    cluster["provider"]["gcp_credentials"] = {"type": "credentials_token", "credentials": "x"}

    config = bootstrap_gcp(prepare_config(copy.deepcopy(cluster)))
    provider = GCPNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in (("head", "head"), ("gpu_worker", "worker")):
        node = config["available_node_types"][name]["node_config"]
        tags = {
            TAG_RAY_NODE_NAME: f"ray-daam-{kind}",
            TAG_RAY_NODE_KIND: kind,
            TAG_RAY_USER_NODE_TYPE: name,
        }
        provider.create_node({**config["head_node"], **node} if kind == "head" else node, tags, 1)
    made = {each["labels"][TAG_RAY_NODE_KIND]: each for each in google.instances.values()}

    # Ray gives rights to an account of its own making, which no machine of ours has.
    assert google.roles
    (account,) = made["head"]["serviceAccounts"]
    assert account["email"] == "daam-head@my-project.iam.gserviceaccount.com"
    assert "serviceAccounts" not in made["worker"]
    assert made["worker"]["scheduling"]["provisioningModel"] == "SPOT"
    assert made["worker"]["machineType"] == "zones/us-central1-a/machineTypes/g2-standard-8"

    assert sorted(provider.non_terminated_nodes({})) == sorted(google.instances)
    for instance in list(google.instances):
        provider.terminate_node(instance)
    assert google.instances == {}
