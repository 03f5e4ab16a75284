"""The files for Kubernetes are what the API server and KubeRay accept, and as safe as they promise.

Pods, accounts and policies are checked with Kubernetes' own schemas. KubeRay publishes its schemas
with the operator alone, so what is used of them is written down here; with KUBERAY_CRDS=FOLDER
(the `crds` of its Helm chart) the operator's own are used, too.

Every check is a function that yields the faults it finds: the files must have none, and a file
broken on purpose must have the one that was put in.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

import daam
from daam.commands.app import app

Object = dict[str, Any]
Check = Callable[[list[Object]], Iterator[str]]

FOLDER = Path(__file__).parents[2] / "cluster" / "kubernetes"
VERSIONS = ("1.30", "1.37")  # of Kubernetes
CRDS = os.environ.get("KUBERAY_CRDS")
PART_OF = {"app.kubernetes.io/part-of": "daam"}
SHARED_MEMORY = "/dev/shm"  # noqa: S108
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
POD = {"type": "object", "required": ["spec"]}


def fields(*required: str, **known: object) -> Object:
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


CLUSTER = fields(
    "headGroupSpec",
    rayVersion={"type": "string"},
    authOptions=fields("mode", mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=fields(
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=COUNT,
        securityContext={"type": "object"},
        volumeMounts={"type": "array"},
    ),
    headGroupSpec=fields("rayStartParams", "template", rayStartParams=TEXTS, template=POD),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            *("groupName", "rayStartParams", "template"),
            groupName={"type": "string"},
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        ),
    },
)
JOB = fields(
    entrypoint={"type": "string"},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    submitterConfig=fields(backoffLimit=COUNT),
    submitterPodTemplate=POD,
    rayClusterSpec=CLUSTER,
)
SCHEMAS = {"RayCluster": CLUSTER, "RayJob": JOB}


@pytest.fixture
def objects() -> list[Object]:
    return read()


def read() -> list[Object]:
    """All objects of the folder; aliases in a file become values of their own."""
    return [
        json.loads(json.dumps(document))
        for path in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str, objects: list[Object]) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def cluster_specs(objects: list[Object]) -> list[Object]:
    clusters = [each["spec"] for each in of_kind("RayCluster", objects)]
    return clusters + [each["spec"]["rayClusterSpec"] for each in of_kind("RayJob", objects)]


def ray_pods(objects: list[Object]) -> Iterator[Object]:
    for spec in cluster_specs(objects):
        yield spec["headGroupSpec"]["template"]
        yield from (group["template"] for group in spec["workerGroupSpecs"])


def pods(objects: list[Object]) -> Iterator[Object]:
    yield from ray_pods(objects)
    yield from (each["spec"]["submitterPodTemplate"] for each in of_kind("RayJob", objects))


def size(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


# --- the checks ---------------------------------------------------------------------------------


def refused_by_kubernetes(objects: list[Object]) -> Iterator[str]:
    core = [each for each in objects if each["kind"] not in SCHEMAS]
    named = [
        {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": "x", **pod["metadata"]}}
        for pod in pods(objects)
    ]
    for each in core + named:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{each['kind']}: {error.message}"


def refused_by_kuberay(objects: list[Object]) -> Iterator[str]:
    yield from (
        f"{each['kind']}: {error.message}"
        for kind, schema in SCHEMAS.items()
        for each in of_kind(kind, objects)
        for error in jsonschema.Draft202012Validator(schema).iter_errors(each["spec"])
    )


def refused_by_the_operator(objects: list[Object]) -> Iterator[str]:
    """Rules that KubeRay has in code, not in a schema."""
    yield from (
        f"the name {each['metadata']['name']} is longer than 47 characters"
        for each in of_kind("RayJob", objects) + of_kind("RayCluster", objects)
        if len(each["metadata"]["name"]) > 47
    )
    for job in (each["spec"] for each in of_kind("RayJob", objects)):
        if job.get("ttlSecondsAfterFinished") and not job.get("shutdownAfterJobFinishes"):
            yield "ttlSecondsAfterFinished without shutdownAfterJobFinishes"
    for spec in cluster_specs(objects):
        for group in spec["workerGroupSpecs"]:
            if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
                yield f"replicas of {group['groupName']}"
    for pod in ray_pods(objects):  # the autoscaler replaces pods itself
        if pod["spec"].get("restartPolicy", "Never") != "Never":
            yield f"restartPolicy {pod['spec']['restartPolicy']}"


def unsafe_containers(objects: list[Object]) -> Iterator[str]:
    """What Pod Security's profile `restricted` refuses, and a root file system that is writable."""
    contexts = [
        (container["name"], container.get("securityContext", {}))
        for pod in pods(objects)
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
    ]
    contexts += [
        ("autoscaler", spec["autoscalerOptions"].get("securityContext", {}))
        for spec in cluster_specs(objects)
    ]
    wanted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    yield from (f"{name}: {context}" for name, context in contexts if context != wanted)
    for pod in pods(objects):
        opened = {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
        yield from sorted(opened)
        yield from (f"port {port}" for port in ports(pod) if "hostPort" in port)
        yield from (v["name"] for v in pod["spec"]["volumes"] if v.keys() - {"name", "emptyDir"})


def ports(pod: Object) -> list[Object]:
    return [port for each in pod["spec"]["containers"] for port in each.get("ports", [])]


def secrets(objects: list[Object]) -> Iterator[str]:
    yield from (each["metadata"]["name"] for each in of_kind("Secret", objects))
    for pod in pods(objects):
        for variable in (v for each in pod["spec"]["containers"] for v in each.get("env", [])):
            if re.search("KEY|TOKEN|SECRET|PASSWORD", variable["name"]) and "value" in variable:
                yield variable["name"]


def without_token(objects: list[Object]) -> Iterator[str]:
    specs = cluster_specs(objects)
    yield from ("disabled" for each in specs if each.get("authOptions") != {"mode": "token"})


def outside_the_policy(objects: list[Object]) -> Iterator[str]:
    """Pods that the policy does not cover, and peers that are more than it says."""
    (policy,) = (each["spec"] for each in of_kind("NetworkPolicy", objects))
    covered = policy["podSelector"]["matchLabels"]
    yield from (
        f"pod of {pod['spec']['containers'][0]['name']}"
        for pod in pods(objects)
        if not covered.items() <= pod["metadata"].get("labels", {}).items()
    )
    if "Ingress" not in policy["policyTypes"]:
        yield "Ingress"
    for rule in policy["ingress"]:
        for peer in rule.get("from", [{}]):
            own = peer == {"podSelector": {"matchLabels": PART_OF}}
            namespaces = peer.get("namespaceSelector", {}).get("matchLabels", {})
            if not own and not (namespaces and rule.get("ports")):
                yield f"peer {peer}"


def unknown_accounts(objects: list[Object]) -> Iterator[str]:
    tokens = {
        each["metadata"]["name"]: each.get("automountServiceAccountToken", True)
        for each in of_kind("ServiceAccount", objects)
    }
    yield from (
        name
        for pod in ray_pods(objects)
        if (name := pod["spec"].get("serviceAccountName", "default")) not in tokens
    )
    for spec in cluster_specs(objects):
        for group in spec["workerGroupSpecs"]:
            if tokens.get(group["template"]["spec"].get("serviceAccountName"), True):
                yield f"{group['groupName']} gets a token of the Kubernetes API"


def too_little_room(objects: list[Object]) -> Iterator[str]:
    """Volumes that the pod's limits do not cover: it would be evicted before they are full."""
    for pod in ray_pods(objects):
        (container,) = pod["spec"]["containers"]
        limits = container["resources"]["limits"]
        volumes = {each["name"]: each["emptyDir"] for each in pod["spec"]["volumes"]}
        mounts = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
        shared = mounts.get(SHARED_MEMORY, {})
        disk = sum(size(v["sizeLimit"]) for v in volumes.values() if "medium" not in v)
        in_memory = shared.get("medium") == "Memory"
        if not in_memory or size(shared["sizeLimit"]) * 2 > size(limits["memory"]):
            yield SHARED_MEMORY
        if disk > size(limits["ephemeral-storage"]):
            yield f"{disk} bytes of volumes"
        if container["resources"]["requests"].keys() < {"cpu", "memory", "ephemeral-storage"}:
            yield "requests"


def missed_probes(objects: list[Object]) -> Iterator[str]:
    for pod in ray_pods(objects):
        (container,) = pod["spec"]["containers"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = container.get(name, {}).get("httpGet", {})
            answers = get.get("port") == DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
            if not answers or get["path"] not in PUBLIC_EXACT_PATHS:
                yield f"{container['name']}: {name}"


def unclean_ends(objects: list[Object]) -> Iterator[str]:
    """Pods that are not stopped, wait for nothing, or are killed before `ray stop` ends (16 s)."""
    for pod in ray_pods(objects):
        (container,) = pod["spec"]["containers"]
        variables = {each["name"]: each.get("value") for each in container.get("env", [])}
        waits = variables.get("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S") != "0"
        has_time = pod["spec"].get("terminationGracePeriodSeconds", 30) >= 30
        if waits or not has_time or "preStop" not in container.get("lifecycle", {}):
            yield container["name"]


def other_versions(objects: list[Object]) -> Iterator[str]:
    lock = (FOLDER.parents[1] / "requirements.lock").read_text()
    (ray,) = re.findall(r"^ray==(\S+)", lock, re.MULTILINE)
    yield from (each["rayVersion"] for each in cluster_specs(objects) if each["rayVersion"] != ray)
    images = {each["image"] for pod in pods(objects) for each in pod["spec"]["containers"]}
    yield from sorted(images - {f"registry.example.com/daam:{daam.__version__}"})


def wrong_commands(objects: list[Object]) -> Iterator[str]:
    """Entrypoints that `daam` does not take, or that a second submission would not go on with."""
    tune = typer.main.get_group(app).commands["tune"]
    for job in of_kind("RayJob", objects):
        program, word, *arguments = shlex.split(job["spec"]["entrypoint"])
        try:
            tune.make_context(word, list(arguments))
        except Exception as error:
            yield str(error)
        resumable = {"--or-resume", "--address"} <= set(arguments)
        if (program, word) != ("daam", "tune") or not resumable:
            yield job["spec"]["entrypoint"]


CHECKS = (
    refused_by_kubernetes,
    refused_by_kuberay,
    refused_by_the_operator,
    unsafe_containers,
    secrets,
    without_token,
    outside_the_policy,
    unknown_accounts,
    too_little_room,
    missed_probes,
    unclean_ends,
    other_versions,
    wrong_commands,
)


# --- the files in the repository ----------------------------------------------------------------


def test_there_are_all_objects(objects: list[Object]) -> None:
    kinds = sorted(each["kind"] for each in objects)
    accounts = ["ServiceAccount", "ServiceAccount"]
    assert kinds == ["NetworkPolicy", "RayCluster", "RayJob", *accounts]


@pytest.mark.parametrize("faults", CHECKS)
def test_no_check_finds_a_fault(faults: Check, objects: list[Object]) -> None:
    assert list(faults(objects)) == []


def test_a_job_runs_on_the_pods_of_the_cluster(objects: list[Object]) -> None:
    cluster, job = cluster_specs(objects)
    assert cluster == job


@pytest.mark.skipif(CRDS is None, reason="KUBERAY_CRDS names no folder with KubeRay's CRDs")
@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_operators_own_schema_accepts_the_file(kind: str, objects: list[Object]) -> None:
    (document,) = of_kind(kind, objects)
    definition = yaml.safe_load((Path(str(CRDS)) / f"ray.io_{kind.lower()}s.yaml").read_text())
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    jsonschema.Draft202012Validator(schema).validate(document)
    document["spec"]["rayVersoin"] = "1"
    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


def strict(schema: Any) -> Any:
    """A definition's schema that refuses unknown fields, as `kubectl apply` does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


# --- the checks find what they are for ----------------------------------------------------------

HEAD = ("RayCluster", "spec", "headGroupSpec", "template")
WORKER = ("RayCluster", "spec", "workerGroupSpecs", 0, "template")
SUBMITTER = ("RayJob", "spec", "submitterPodTemplate")
CONTAINER = ("spec", "containers", 0)


@pytest.mark.parametrize(
    ("faults", "path", "value"),
    [
        (refused_by_kubernetes, (*WORKER, *CONTAINER, "resorces"), {}),
        (refused_by_kubernetes, (*SUBMITTER, *CONTAINER, "image"), 1),
        (refused_by_kubernetes, ("NetworkPolicy", "spec", "policyTypes"), "Ingress"),
        (refused_by_kuberay, ("RayCluster", "spec", "rayVersoin"), "2.60.0"),
        (refused_by_kuberay, ("RayCluster", "spec", "autoscalerOptions", "version"), "v3"),
        (refused_by_kuberay, ("RayCluster", "spec", "headGroupSpec", "rayStartParams"), {"x": 1}),
        (refused_by_kuberay, ("RayJob", "spec", "backoffLimit"), -1),
        (refused_by_the_operator, ("RayJob", "spec", "shutdownAfterJobFinishes"), False),
        (refused_by_the_operator, ("RayJob", "metadata", "name"), "x" * 48),
        (refused_by_the_operator, ("RayCluster", "spec", "workerGroupSpecs", 0, "replicas"), 9),
        (refused_by_the_operator, (*HEAD, "spec", "restartPolicy"), "Always"),
        (unsafe_containers, (*SUBMITTER, *CONTAINER, "securityContext", "runAsNonRoot"), False),
        (unsafe_containers, (*HEAD, "spec", "initContainers"), [{"name": "x"}]),
        (unsafe_containers, ("RayCluster", "spec", "autoscalerOptions", "securityContext"), {}),
        (unsafe_containers, (*WORKER, "spec", "hostNetwork"), True),
        (unsafe_containers, (*HEAD, *CONTAINER, "ports", 0, "hostPort"), 6379),
        (unsafe_containers, (*HEAD, "spec", "volumes", 0), {"name": "x", "hostPath": {}}),
        (secrets, (*HEAD, *CONTAINER, "env"), [{"name": "RAY_AUTH_TOKEN", "value": "x"}]),
        (without_token, ("RayCluster", "spec", "authOptions", "mode"), "disabled"),
        (outside_the_policy, (*WORKER, "metadata", "labels"), {}),
        (outside_the_policy, ("NetworkPolicy", "spec", "policyTypes"), []),
        (outside_the_policy, ("NetworkPolicy", "spec", "ingress", 1), {}),
        (outside_the_policy, ("NetworkPolicy", "spec", "ingress", 1, "ports"), []),
        (unknown_accounts, (*WORKER, "spec", "serviceAccountName"), "daam-head"),
        (unknown_accounts, (*HEAD, "spec", "serviceAccountName"), "other"),
        (too_little_room, (*WORKER, "spec", "volumes", 2, "emptyDir", "sizeLimit"), "90Gi"),
        (too_little_room, (*HEAD, "spec", "volumes", 0, "emptyDir", "sizeLimit"), "5Gi"),
        (too_little_room, (*HEAD, "spec", "volumes", 0, "emptyDir"), {"sizeLimit": "1Gi"}),
        (too_little_room, (*HEAD, *CONTAINER, "resources", "requests"), {"cpu": "1"}),
        (missed_probes, (*HEAD, *CONTAINER, "startupProbe", "httpGet", "port"), 8265),
        (missed_probes, (*HEAD, *CONTAINER, "livenessProbe"), {}),
        (unclean_ends, (*WORKER, *CONTAINER, "lifecycle"), {}),
        (unclean_ends, (*HEAD, *CONTAINER, "env"), []),
        (unclean_ends, (*WORKER, "spec", "terminationGracePeriodSeconds"), 5),
        (other_versions, ("RayCluster", "spec", "rayVersion"), "2.9.0"),
        (other_versions, (*SUBMITTER, *CONTAINER, "image"), "daam:latest"),
        (wrong_commands, ("RayJob", "spec", "entrypoint"), "daam tune --address auto"),
        (
            wrong_commands,
            ("RayJob", "spec", "entrypoint"),
            "daam tune --or-resume --address auto --storrage s3://bucket",
        ),
    ],
)
def test_a_fault_put_into_a_file_is_found(
    faults: Check, path: tuple[str | int, ...], value: object
) -> None:
    objects = read()
    kind, *parents, last = path
    inner: Any = of_kind(str(kind), objects)[0]
    for key in parents:
        inner = inner[key]
    inner[last] = value
    assert list(faults(objects))
