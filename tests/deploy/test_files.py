"""What holds for everything in ``deploy/``: it parses, is pinned, and names what there is."""

import base64
import json
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer.main

from service import __version__
from service.api.app import description
from service.cli.app import app
from service.settings import check_roles, load
from service.settings.model import Settings, variable
from tests.support.deployment import (
    DEPLOY,
    FILES,
    KUBERNETES,
    ROOT,
    YAMLS,
    document,
    documents,
    dotenv,
    filled,
    literals,
    name_of,
    pods,
)

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = sorted((DEPLOY / "compose").glob("c*.yaml"))
PATHS = set(json.loads(description("https://ringback.test"))["paths"])
KEY = "k1:" + base64.b64encode(b"k" * 32).decode()
STATUS_PORT = 8081

#: What the image itself sets.
BUILT_IN = dict(re.findall(r"(RINGBACK_\w+)=(\S+)", DOCKERFILE.read_text()))

Case = tuple[str, list[str], dict[str, str]]


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_yaml_parses_and_says_something(path: Path) -> None:
    found = documents(path)

    assert found
    assert all(isinstance(each, dict) for each in found)


@pytest.mark.parametrize("path", UNITS, ids=name_of)
def test_units_parse_and_say_how_to_start(path: Path) -> None:
    unit = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep case
    unit.read(path)

    assert set(unit.sections()) <= {"Unit", "Service", "Install"}
    assert unit["Unit"]["Description"]
    assert "systemctl" in path.read_text().split("[Unit]")[0]
    # what all of them share reaches those only whose name begins so
    assert path.name.startswith("ringback-")


def test_every_variable_is_a_setting() -> None:
    known = {variable(field) for field in Settings.model_fields}
    named = {
        name: name_of(path)
        for path in FILES
        for name in re.findall(r"\bRINGBACK_[A-Z_]+\b", path.read_text())
    }

    assert named
    assert {name: where for name, where in named.items() if name not in known} == {}


def images() -> Iterator[tuple[str, str]]:
    for path in YAMLS:
        for line in re.findall(r"^\s*image: (\S+)", path.read_text(), re.MULTILINE):
            yield name_of(path), line
    for line in re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE):
        yield name_of(DOCKERFILE), line


def test_every_image_is_pinned_by_a_full_version() -> None:
    pinned = re.compile(r"[a-z/.]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?")
    loose = [
        (where, image)
        for where, image in images()
        # kustomize puts the tag there
        if not pinned.fullmatch(image) and not (image == "ringback" and "base/" in where)
    ]

    assert loose == []
    assert len(set(images())) > 8


def test_our_own_image_has_the_version_of_the_service() -> None:
    said = [
        version
        for path in FILES
        for version in re.findall(
            r"(?:ringback:|newTag: |image\.version=\")([\w.]+)\b", path.read_text()
        )
        if version[0].isdigit()
    ]

    assert len(said) > 5
    assert set(said) == {__version__}


# --- what is started, and with what


def composed() -> Iterator[Case]:
    for path in COMPOSE:
        for name, service in document(path)["services"].items():
            if service["image"].startswith("ringback:"):
                command = service.get("command", ["serve", "--status-port", str(STATUS_PORT)])
                given = {key: filled(value) for key, value in service["environment"].items()}
                yield f"{path.stem}/{name}", command, BUILT_IN | given


def orchestrated() -> Iterator[Case]:
    base, overlays = KUBERNETES / "base", KUBERNETES / "overlays"
    given = BUILT_IN | literals(base / "kustomization.yaml", "configMapGenerator")
    for overlay in ("dev", "prod"):
        made = overlays / overlay / "kustomization.yaml"
        secret = literals(made, "secretGenerator") or dotenv(base / "secret.example.env")
        own = given | secret | literals(made, "configMapGenerator")
        for name, _, spec in pods():
            for container in spec["containers"]:
                if container["image"] == "ringback":
                    yield f"{overlay}/{name}", container["args"], own


def supervised() -> Iterator[Case]:
    for path in UNITS:
        text = path.read_text().replace("%i", str(STATUS_PORT))
        (command,) = re.findall(r"^ExecStart=/opt/ringback/bin/ringback (.+)$", text, re.MULTILINE)
        given = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
        if "embedded" not in path.name:
            given |= dotenv(KUBERNETES / "base" / "secret.example.env")
        yield f"systemd/{path.stem}", command.split(), given


CASES = [*composed(), *orchestrated(), *supervised()]


def parsed(command: list[str]) -> dict[str, Any]:
    """What the command line makes of it; nothing is run."""
    group: Any = typer.main.get_command(app)
    name, *arguments = command
    parameters: dict[str, Any] = group.commands[name].make_context(name, list(arguments)).params
    return parameters


@pytest.mark.parametrize("case", CASES, ids=[name for name, _, _ in CASES])
def test_what_is_started_starts_with_what_it_is_given(case: Case) -> None:
    _, command, given = case
    if not given["RINGBACK_DATABASE_URL"].startswith("sqlite:"):
        given = {**given, "RINGBACK_ENCRYPTION_KEYS": KEY}  # the example shows how to make one
    settings = load(given)
    options = parsed(command)

    if command[0] == "serve":
        check_roles(settings, frozenset(options["roles"].split(",")))
    assert command[0] in {"serve", "migrate"}


def test_every_role_is_started_by_each_way_of_many() -> None:
    for way, count in (("cluster/", 4), ("dev/", 4), ("prod/", 4), ("systemd/", 5)):
        started = [command for name, command, _ in CASES if name.startswith(way)]

        assert len(started) == count, way
        roles = {parsed(each)["roles"] for each in started if each[0] == "serve"}
        assert roles >= {"api", "worker", "sweeper"}, way
        assert ["migrate"] in started, way


def test_who_has_no_api_tells_of_its_state() -> None:
    for name, command, _ in CASES:
        if command[0] == "serve" and "api" not in parsed(command)["roles"].split(","):
            assert parsed(command)["status_port"] == STATUS_PORT, name


def test_every_path_that_is_asked_for_is_there() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    asked = set(re.findall(r"/(?:livez|readyz|metrics|docs)\b", text))

    assert asked == {"/livez", "/readyz", "/metrics", "/docs"}
    assert asked <= PATHS


def test_streams_pass_nginx_as_they_come() -> None:
    conf = (DEPLOY / "proxy" / "nginx.conf").read_text()
    (location,) = re.findall(r"location ~ (\S+) \{(.*?)\n        \}", conf, re.DOTALL)
    pattern, inside = location
    streams = {path for path in PATHS if path.endswith("/stream")} | {"/v1/operations/{id}/status"}

    assert len(streams) == 3
    assert all(re.search(pattern, path.replace("{id}", "op_1")) for path in streams)
    for root in ("/console", "/portal"):
        assert re.search(pattern, f"{root}/live")
        assert re.search(pattern, f"{root}/operations/op_1/stream")
        assert not re.search(pattern, f"{root}/operations/op_1")
    assert not re.search(pattern, "/v1/operations/op_1/events")
    for setting in ("proxy_buffering off", "proxy_read_timeout 1h", "Upgrade $http_upgrade"):
        assert setting in inside
    assert conf.count("{") == conf.count("}")


def test_caddy_passes_streams_as_they_come() -> None:
    conf = (DEPLOY / "proxy" / "Caddyfile").read_text()

    assert "flush_interval -1" in conf
    assert conf.count("{") == conf.count("}")
    for path in re.findall(r"(?:respond|handle) (/\S+)", conf):
        assert path in PATHS


# --- the image


def test_the_image_runs_without_rights_on_a_root_that_may_be_read_only() -> None:
    build, run = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)[1:]

    assert re.search(r"^USER 10001:10001$", run, re.MULTILINE)
    assert 'VOLUME ["/data"]' in run
    assert not re.search(r"^RUN", run, re.MULTILINE)
    assert build.index(".txt lock.txt") < build.index("COPY service")  # a layer for itself
    assert "--require-hashes" in build


def test_the_image_can_have_the_extra_for_traces() -> None:
    assert re.search(r"^ARG LOCK=runtime$", DOCKERFILE.read_text(), re.MULTILINE)
    assert {source.name for source in copied() if source.suffix == ".txt"} == {
        "runtime.txt",
        "otel.txt",
    }


def copied() -> set[Path]:
    """What the image is made of, with either lock."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    sources = {source for line in lines for source in line.split()}
    return {
        Path(source.replace("$LOCK", lock)) for source in sources for lock in ("runtime", "otel")
    }


def test_the_image_is_made_without_tricks() -> None:
    text = DOCKERFILE.read_text()

    assert not re.search(r"^ADD\b", text, re.MULTILINE)
    assert "latest" not in text
    assert not re.search(r"\b(sudo|curl|wget|apt-get|chmod 777)\b", text)
    for words in re.findall(r"^(?:RUN|CMD|ENTRYPOINT|    CMD) (.+)$", text, re.MULTILINE):
        assert isinstance(json.loads(words), list), f"a shell runs {words}"
    assert set(re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE)) == {f"8080 {STATUS_PORT}"}
    assert f":{STATUS_PORT}/livez" in text


def test_the_build_sees_what_it_copies_and_no_data() -> None:
    rules = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()

    assert "*" in rules
    assert {Path(rule[1:]) for rule in rules if rule.startswith("!")} == copied()
    assert all((ROOT / source).exists() for source in copied())


def test_containers_of_ours_may_write_nothing_but_their_volumes() -> None:
    for path in COMPOSE:
        for service in document(path)["services"].values():
            if service["image"].startswith("ringback:"):
                assert service["read_only"] is True
                assert service["cap_drop"] == ["ALL"]
                assert service["stop_grace_period"] == "60s"


def test_nothing_is_open_to_other_machines_by_itself() -> None:
    for path in COMPOSE:
        for service in document(path)["services"].values():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_compose_mounts_and_builds_is_there() -> None:
    for path in COMPOSE:
        for service in document(path)["services"].values():
            mounts = [m.split(":")[0] for m in service.get("volumes", []) if m.startswith(".")]
            assert all((path.parent / mount).exists() for mount in mounts), mounts
            if "build" in service:
                context = path.parent / service["build"]["context"]
                assert (context / service["build"]["dockerfile"]).samefile(DOCKERFILE)


def test_what_a_proxy_says_of_clients_counts_where_one_is_deployed() -> None:
    """Without it all who guess keys are one client, and one of them shuts the others out."""
    api = document(DEPLOY / "compose" / "cluster.yaml")["services"]["api"]
    kustomization = document(DEPLOY / "kubernetes" / "overlays" / "prod" / "kustomization.yaml")
    (generated,) = kustomization["configMapGenerator"]

    assert api["environment"]["FORWARDED_ALLOW_IPS"] == "*"
    assert "ports" not in api
    assert any(each.startswith("FORWARDED_ALLOW_IPS=") for each in generated["literals"])
