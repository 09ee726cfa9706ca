"""The tools that these files are for take them, where they are installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from service import __version__
from tests.support.deployment import DEPLOY, KUBERNETES, ROOT
from tests.support.programs import PATH

PROMETHEUS = DEPLOY / "prometheus"
#: It fails where more than a fifth is left open.
_SECURITY = ("systemd-analyze", "security", "--offline=yes", "--threshold=20")


def run(command: Sequence[str | Path], **environment: str) -> str:
    """What the command prints and complains of; it has to succeed."""
    program, *arguments = command
    done = subprocess.run(
        [shutil.which(program, path=PATH) or program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def promtool(folder: Path) -> None:
    run(["promtool", "check", "rules", PROMETHEUS / "rules.yml"])
    run(["promtool", "test", "rules", PROMETHEUS / "rules_test.yml"])
    # in the container they lie beside each other
    for file in (PROMETHEUS / "rules.yml", DEPLOY / "compose" / "prometheus.yml"):
        shutil.copy(file, folder)
    assert "1 rule files found" in run(["promtool", "check", "config", folder / "prometheus.yml"])


def kubectl(_: Path) -> None:
    for overlay, count in (("dev", 18), ("prod", 16)):
        rendered = run(["kubectl", "kustomize", KUBERNETES / "overlays" / overlay])
        objects = list(yaml.safe_load_all(rendered))
        assert len(objects) == count
        assert f"ringback:{__version__}\n" in rendered
        assert "image: ringback\n" not in rendered
        policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
        (dns,) = policies[0]["spec"]["egress"][0]["to"]
        assert dns["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def systemd(folder: Path) -> None:
    """The units as they are, but with a program that is here; and what they leave open."""
    shutil.copytree(DEPLOY / "systemd", folder, dirs_exist_ok=True)
    names = []
    for unit in folder.glob("*.service"):
        program = str(Path(sys.executable).with_name("ringback"))
        unit.write_text(unit.read_text().replace("/opt/ringback/bin/ringback", program))
        names.append(folder / unit.name.replace("@", "@8081"))
    # the colon: and systemd's own
    path = {"SYSTEMD_UNIT_PATH": f"{folder}:"}
    said = run(["systemd-analyze", "verify", "--man=no", *names], **path)
    assert str(folder) not in said
    for unit in folder.glob("*.service"):
        if "@" not in unit.name:
            run([*_SECURITY, unit], **path)


def hadolint(_: Path) -> None:
    run(["hadolint", "--failure-threshold=warning", DEPLOY / "docker" / "Dockerfile"])


def shellcheck(_: Path) -> None:
    run(["shellcheck", ROOT / ".ci" / "run"])


def compose(_: Path) -> None:
    given = ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "RINGBACK_ADMIN_KEY")
    secrets = dict.fromkeys((*given, "RINGBACK_ENCRYPTION_KEYS"), "secret")
    for name in ("compose.yaml", "cluster.yaml"):
        file = DEPLOY / "compose" / name
        run([*composer(), "-f", file, "config", "--quiet"], **secrets)


def composer() -> list[str]:
    """How it is called: as a plug-in of Docker, or by itself."""
    plugin, alone = ["docker", "compose"], ["docker-compose"]
    return plugin if tells(*plugin, "version") is not None else alone


def caddy(_: Path) -> None:
    config = DEPLOY / "proxy" / "Caddyfile"
    run(["caddy", "adapt", "--adapter", "caddyfile", "--config", config])


TOOLS: dict[str, Callable[[Path], None]] = {
    "promtool": promtool,
    "kubectl": kubectl,
    "systemd-analyze": systemd,
    "hadolint": hadolint,
    "shellcheck": shellcheck,
    "docker compose": compose,
    "caddy": caddy,
}


def tells(*command: str) -> str | None:
    """What it prints of itself; None where it is not there."""
    program = shutil.which(command[0], path=PATH)
    if program is None:
        return None
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def lacking(tool: str) -> str | None:
    """Why it cannot be asked here."""
    if tool == "docker compose":
        if tells(*composer(), "version", "--short") is None:
            return f"{tool} is not installed"
        old = (tells(*composer(), "version", "--short") or "").startswith("1.")
        return "docker-compose is of version 1, which knows no `name` in a file" if old else None
    if shutil.which(tool, path=PATH) is None:
        return f"{tool} is not installed"
    if tool == "kubectl" and "kustomizeVersion" not in json.loads(
        tells(tool, "version", "--client", "--output=json") or "{}"
    ):
        return "kubectl is older than 1.24: its kustomize knows no `labels` and no `components`"
    return None


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_takes_what_is_made_for_it(tool: str, tmp_path: Path) -> None:
    if (why := lacking(tool)) is not None:
        pytest.skip(why)

    TOOLS[tool](tmp_path)
