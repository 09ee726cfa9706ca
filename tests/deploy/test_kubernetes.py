"""The manifests: references that exist, pods without rights, selectors that select."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from service.usecases.deliver import Pace
from tests.support.deployment import KUBERNETES, ROOT, Document, document, manifests, name_of, pods

KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
#: What base/kustomization.yaml puts on every pod of ours.
OURS = {"app.kubernetes.io/name": "ringback"}


def referred(path: Path) -> Iterator[Path]:
    """The files and folders that a kustomization takes in."""
    found = document(path)
    for kind in ("resources", "components"):
        yield from ((path.parent / each).resolve() for each in found.get(kind, []))
    for patch in found.get("patches", []):
        if "path" in patch:
            yield (path.parent / patch["path"]).resolve()


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=name_of)
def test_a_kustomization_refers_to_what_is_there(path: Path) -> None:
    for each in referred(path):
        assert each.is_file() or (each / "kustomization.yaml").is_file(), each


def test_every_manifest_is_taken_in_by_something() -> None:
    taken = {each for path in KUSTOMIZATIONS for each in referred(path)}
    files = {path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"}

    assert files - taken == set()


def test_patches_are_of_what_there_is() -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests()}
    patch = document(KUBERNETES / "components" / "keda" / "kustomization.yaml")["patches"][0]

    assert "name: ringback-worker\n" in patch["patch"]
    assert ("HorizontalPodAutoscaler", "ringback-worker") in there
    assert ("ScaledObject", "ringback-worker") in there


@pytest.mark.parametrize("pod", list(pods()), ids=lambda pod: pod[0])
def test_a_pod_has_no_rights(pod: tuple[str, Document, Document]) -> None:
    _, _, spec = pod
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("pod", list(pods()), ids=lambda pod: pod[0])
def test_a_pod_is_given_no_variables_of_services(pod: tuple[str, Document, Document]) -> None:
    # for our own Service they would be RINGBACK_PORT=tcp://... and names that are no settings
    assert pod[2]["enableServiceLinks"] is False


@pytest.mark.parametrize("pod", list(pods()), ids=lambda pod: pod[0])
def test_our_pods_are_probed_where_they_answer(pod: tuple[str, Document, Document]) -> None:
    name, _, spec = pod
    (container,) = spec["containers"]
    if container["image"] != "ringback":
        return
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "memory" in container["resources"]["limits"]
    if name == "ringback-migrate":
        return
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert str(ports["status"]) == container["args"][-1]
    assert spec["terminationGracePeriodSeconds"] >= 60
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness")}
    # a database that is away is no reason to kill processes
    assert all(probe == {"path": "/livez", "port": "status"} for probe in probes.values())
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "status"}


def selectors() -> Iterator[tuple[str, Mapping[str, str]]]:
    for each in manifests():
        spec, name = each.get("spec", {}), f"{each['kind']}/{each['metadata']['name']}"
        for key in ("selector", "podSelector"):
            if key in spec:
                yield name, spec[key].get("matchLabels", spec[key])


@pytest.mark.parametrize("selector", list(selectors()), ids=lambda each: each[0])
def test_a_selector_selects_pods(selector: tuple[str, Mapping[str, str]]) -> None:
    _, wanted = selector
    labels = [
        found if name in {"postgres", "valkey"} else {**OURS, **found} for name, found, _ in pods()
    ]

    assert [each for each in labels if wanted.items() <= each.items()]


def test_what_scales_and_what_protects_is_of_a_deployment() -> None:
    deployments = {each["metadata"]["name"] for each in manifests() if each["kind"] == "Deployment"}
    for each in manifests():
        if "scaleTargetRef" in each.get("spec", {}):
            assert each["spec"]["scaleTargetRef"]["name"] in deployments
    protected = {m["metadata"]["name"] for m in manifests() if m["kind"] == "PodDisruptionBudget"}
    assert protected == {f"ringback-{role}" for role in ("api", "worker", "sweeper")}


def test_who_scales_is_told_how_many_connections_that_may_take() -> None:
    (each,) = re.findall(
        r"A process opens at most (\d+) connections", (ROOT / "README.md").read_text()
    )
    (said,) = re.findall(
        r"take up to (\d+) connections",
        (KUBERNETES / "overlays" / "prod" / "kustomization.yaml").read_text(),
    )
    found = {(m["kind"], m["metadata"]["name"]): m["spec"] for m in manifests() if "spec" in m}
    api = found["HorizontalPodAutoscaler", "ringback-api"]["maxReplicas"]
    workers = found["ScaledObject", "ringback-worker"]["maxReplicaCount"]
    sweepers = found["Deployment", "ringback-sweeper"]["replicas"]

    assert int(said) == int(each) * (api + workers + sweepers)


def test_who_scales_by_sends_is_told_how_many_there_may_be() -> None:
    most = Pace((), 0).slots
    (said,) = re.findall(
        r"A process has (\d+) sends", (KUBERNETES / "base" / "worker.yaml").read_text()
    )
    path = KUBERNETES / "components" / "keda" / "scaledobject.yaml"
    (whole,) = re.findall(r"Half of the (\d+) that each may have", path.read_text())
    (threshold,) = (
        each["metadata"]["threshold"]
        for each in document(path)["spec"]["triggers"]
        if "ringback_sends_in_flight" in each["metadata"]["query"]
    )

    assert (int(said), int(whole), 2 * int(threshold)) == (most, most, most)


def test_services_lead_to_ports_that_are_listened_on() -> None:
    (api,) = (spec for name, _, spec in pods() if name == "ringback-api")
    names = {port["name"] for port in api["containers"][0]["ports"]}
    (service,) = (
        m for m in manifests() if m["kind"] == "Service" and m["metadata"]["name"] == "ringback"
    )

    assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_the_secret_is_made_where_there_is_a_namespace_already() -> None:
    said = (KUBERNETES / "base" / "secret.example.env").read_text()
    first, second = re.findall(r"^#   (kubectl .+)$", said, re.MULTILINE)

    # before anything else was applied there is none
    file = re.fullmatch(r"kubectl apply -f deploy/kubernetes/(\S+)", first)
    assert file is not None
    made = document(KUBERNETES / file[1])
    assert made["kind"] == "Namespace"
    assert f"kubectl -n {made['metadata']['name']} create secret generic ringback " in second
    assert {name for _, _, spec in pods() for name in secrets(spec)} == {"ringback"}


def secrets(spec: Document) -> Iterator[str]:
    """The Secrets that containers take variables from."""
    for container in spec["containers"]:
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield source["secretRef"]["name"]


def test_no_pod_may_reach_private_networks_but_for_its_stores() -> None:
    (policy,) = (each for each in manifests() if each["kind"] == "NetworkPolicy")
    dns, stores, world = policy["spec"]["egress"]

    assert dns["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
    assert {port["port"] for port in stores["ports"]} == {5432, 6379}
    excepted = {net for each in world["to"] for net in each["ipBlock"]["except"]}
    assert excepted >= {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
    assert document(KUBERNETES / "base" / "kustomization.yaml")["labels"][0].keys() == {
        "pairs",
        "includeTemplates",  # into selectors they must not go: not into that of DNS
    }
