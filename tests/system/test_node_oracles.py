"""Signatures under Node: two npm libraries that are not ours read what receivers get.

`make test` installs them into .venv/node from deploy/lock/node where npm is there.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.domain.request import Envelope, SigningKeys, Target, build
from service.domain.signature import key_bytes, new_secret

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "lock" / "node"
MODULES = ROOT / ".venv" / "node" / "node_modules"
NODE = shutil.which("node")
LIBRARIES = ("standardwebhooks", "svix")

BODIES = (
    b'{"id":"evt_1","type":"COMPLETED"}',
    b'{"id":"evt_1","data":{"price":1.10,"huge":1e400,"exact":12345678901234567890.1234567}}',
    '{"id":"evt_1","message":"grün, 緑, \N{LARGE GREEN CIRCLE}"}'.encode(),
    b'{"id":"evt_1","data":"a.b.c, v1,v1 \\u0000"}',
)

#: Verifies cases with a library; prints one `true` or `false` for each.
SCRIPT = """
const { Webhook } = require(process.argv[1]);
const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const verdicts = cases.map(({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
    return true;
  } catch (error) {
    if (error.name !== "WebhookVerificationError" && !/signature|timestamp/i.test(error.message)) {
      throw error;
    }
    return false;
  }
});
console.log(JSON.stringify(verdicts));
"""


def missing() -> str | None:
    """Why nothing can be checked here."""
    if NODE is None:
        return "node is not on PATH"
    if not all((MODULES / library / "package.json").exists() for library in LIBRARIES):
        return (
            "the npm packages are not in .venv/node; `make test` installs them where npm is there"
        )
    return None


needs_node = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@dataclass(frozen=True)
class Case:
    """A request, and the secret its receiver has."""

    secret: str
    headers: dict[str, str]
    body: bytes

    def as_json(self) -> dict[str, Any]:
        body = base64.b64encode(self.body).decode()
        return {"secret": self.secret, "headers": self.headers, "body": body}


def signed(body: bytes, *secrets: str, age: int = 0) -> dict[str, str]:
    """The headers of a real request with this body, made ``age`` seconds ago."""
    keys = tuple(key_bytes(secret) for secret in secrets)
    request = build(
        Envelope("evt_1", "COMPLETED", "op_1", 7, body, "dlv_1", 3),
        SigningKeys(keys, keys[-1]),
        Target("https://example.com/hook", (), 20.0),
        timestamp=int(time.time()) - age,
        user_agent="Ringback/1.0",
        traceparent=None,
    )
    assert request.body == body
    return dict(request.headers)


def verdicts(library: str, *cases: Case) -> list[bool]:
    """What a library says to each case."""
    done = subprocess.run(
        [NODE or "node", "-e", SCRIPT, library],
        input=json.dumps([case.as_json() for case in cases]),
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: list[bool] = json.loads(done.stdout)
    return answer


@needs_node
@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_sent_verifies_and_what_was_changed_does_not(library: str) -> None:
    secret = new_secret(bytes(range(32)))
    sent = [Case(secret, signed(body, secret), body) for body in BODIES]
    changed = [Case(secret, case.headers, case.body.replace(b"evt_1", b"evt_2")) for case in sent]

    assert verdicts(library, *sent) == [True] * len(BODIES)
    assert verdicts(library, *changed) == [False] * len(BODIES)


@needs_node
@pytest.mark.parametrize("library", LIBRARIES)
def test_while_rotating_both_secrets_verify_and_no_other(library: str) -> None:
    old, new, other = (new_secret(bytes([number]) * 32) for number in range(3))
    headers = signed(BODIES[0], new, old)

    cases = [Case(secret, headers, BODIES[0]) for secret in (new, old, other)]
    assert verdicts(library, *cases) == [True, True, False]


@needs_node
@pytest.mark.parametrize("library", LIBRARIES)
def test_an_old_request_and_another_id_do_not_verify(library: str) -> None:
    secret = new_secret(bytes(32))
    now, old = signed(BODIES[0], secret), signed(BODIES[0], secret, age=301)
    renamed = {**now, "webhook-id": "evt_2"}

    cases = [Case(secret, headers, BODIES[0]) for headers in (now, old, renamed)]
    assert verdicts(library, *cases) == [True, False, False]


@needs_node
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_plain_secret_is_its_bytes(library: str) -> None:
    chosen = "a secret that somebody chose"
    standard = "whsec_" + base64.b64encode(chosen.encode()).decode()

    assert verdicts(library, Case(standard, signed(BODIES[0], chosen), BODIES[0])) == [True]


def test_the_lock_is_exact_hashed_and_names_no_host() -> None:
    wanted = json.loads((LOCK / "package.json").read_text())["dependencies"]
    text = (LOCK / "package-lock.json").read_text()
    locked = json.loads(text)["packages"]

    assert set(wanted) == set(LIBRARIES)
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(each["integrity"].startswith("sha512-") for name, each in locked.items() if name)
    assert "://" not in text
