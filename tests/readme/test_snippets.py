"""The README's ways to verify a signature, each against real deliveries and against forged ones."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from service.cli.demo_receiver import Receiver
from service.domain.signature import key_bytes, new_secret, sign_standard
from tests.readme.conftest import Running, in_background
from tests.support import readme

SECRET = new_secret(bytes(range(32)))
VERIFYING = ("webhook-id", "webhook-timestamp", "webhook-signature")
NODE = shutil.which("node")
TOOLS = [tool for tool in ("bash", "openssl", "od") if shutil.which(tool) is None]


@dataclass(frozen=True)
class Delivery:
    """What a receiver verifies."""

    headers: dict[str, str]
    body: bytes


@pytest.fixture
def genuine(running: Running, receiver: Receiver) -> Delivery:
    """A delivery as it came in."""
    inbox = receiver.open("/recorded")
    inbox.secret = SECRET
    subscription = running.post("/v1/subscriptions", {"url": inbox.url, "secret": SECRET})
    running.post("/v1/events", {"operationId": subscription["id"], "type": "STARTED"})
    arrival = inbox.next(10)
    running.client.delete(f"/v1/subscriptions/{subscription['id']}")
    assert arrival is not None
    assert arrival.fault is None
    return Delivery({name: arrival.headers[name] for name in VERIFYING}, arrival.body)


def signed(delivery: Delivery, timestamp: str, secret: str = SECRET) -> Delivery:
    """The delivery with a good signature for another time, or by another secret."""
    key, name = key_bytes(secret), delivery.headers["webhook-id"]
    signature = sign_standard([key], name, int(timestamp), delivery.body)
    headers = {"webhook-timestamp": timestamp, "webhook-signature": signature}
    return replace(delivery, headers={**delivery.headers, **headers})


def with_headers(delivery: Delivery, **headers: str) -> Delivery:
    changed = {name.replace("_", "-"): text for name, text in headers.items()}
    return replace(delivery, headers={**delivery.headers, **changed})


def forged(delivery: Delivery) -> Iterator[Delivery]:
    """Deliveries that must be refused."""
    now = int(time.time())
    signature = delivery.headers["webhook-signature"]
    yield replace(delivery, body=delivery.body + b" ")
    yield replace(delivery, body=b"")
    yield signed(delivery, str(now - 310))
    yield signed(delivery, str(now + 310))
    yield signed(delivery, str(now), new_secret(bytes(32)))
    yield with_headers(delivery, webhook_id="evt_another")
    yield with_headers(delivery, webhook_timestamp="soon")
    yield with_headers(delivery, webhook_timestamp="9" * 5000)
    yield with_headers(delivery, webhook_signature="")
    yield with_headers(delivery, webhook_signature=signature.replace("v1,", "v2,"))
    yield with_headers(delivery, webhook_signature=signature[:-4])
    yield with_headers(delivery, webhook_signature="v1 v1, , ,v1 *")


def also_good(delivery: Delivery) -> Iterator[Delivery]:
    """Deliveries that must be taken: as it came, and with a second signature on either side."""
    other = signed(delivery, delivery.headers["webhook-timestamp"], new_secret(bytes(32)))
    both = (delivery.headers["webhook-signature"], other.headers["webhook-signature"])
    yield delivery
    yield with_headers(delivery, webhook_signature=" ".join(both))
    yield with_headers(delivery, webhook_signature=" ".join(reversed(both)))


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("receiver.py", sys.executable),
        pytest.param(
            "receiver.mjs",
            NODE or "node",
            marks=pytest.mark.skipif(NODE is None, reason="node is not on PATH"),
        ),
    ],
)
def test_a_whole_receiver(name: str, program: str, running: Running, genuine: Delivery) -> None:
    port = readme.free_port()
    file = running.folder / name
    file.write_text(readme.with_ports(readme.block(name), {"9000": port}))
    url = f"http://127.0.0.1:{port}/hook"

    with in_background([program, str(file)], running.folder, port, WEBHOOK_SECRET=SECRET):

        def answer(delivery: Delivery) -> int:
            with httpx.Client(trust_env=False) as client:
                answered = client.post(url, content=delivery.body, headers=delivery.headers)
            return answered.status_code

        assert delivered_status(running, url) == 204
        assert [answer(each) for each in also_good(genuine)] == [204, 204, 204]
        assert {answer(each) for each in forged(genuine)} == {401}
        assert answer(replace(genuine, headers={})) == 401


def delivered_status(running: Running, url: str) -> int:
    """What the receiver answered to the service itself."""
    made = running.post("/v1/subscriptions", {"url": url, "secret": SECRET})
    attempt = running.post(f"/v1/subscriptions/{made['id']}/test")
    running.client.delete(f"/v1/subscriptions/{made['id']}")
    status: int = attempt["statusCode"]
    return status


@pytest.mark.skipif(bool(TOOLS), reason=f"not on PATH: {', '.join(TOOLS)}")
def test_the_script(running: Running, genuine: Delivery) -> None:
    script = running.folder / "verify.sh"
    script.write_text(readme.block("verify.sh"))

    def verdict(delivery: Delivery) -> str:
        (running.folder / "body").write_bytes(delivery.body)
        variables = {
            name.upper().replace("-", "_"): text for name, text in delivery.headers.items()
        }
        command = "bash verify.sh < body 2>said && echo genuine || echo forged"
        return running.sh(command, WEBHOOK_SECRET=SECRET, **variables).strip()

    assert [verdict(each) for each in also_good(genuine)] == ["genuine"] * 3
    assert {verdict(each) for each in forged(genuine)} == {"forged"}


@pytest.mark.skipif(bool(TOOLS), reason=f"not on PATH: {', '.join(TOOLS)}")
def test_the_script_runs_nothing_that_came_in(
    running: Running, genuine: Delivery, tmp_path: Path
) -> None:
    script = running.folder / "verify.sh"
    script.write_text(readme.block("verify.sh"))
    (running.folder / "body").write_bytes(genuine.body)
    mark = tmp_path / "mark"

    for name in VERIFYING:
        headers = {**genuine.headers, name: f"a[$(touch {mark})]"}
        variables = {each.upper().replace("-", "_"): text for each, text in headers.items()}
        command = "bash verify.sh < body 2>said || echo forged"
        assert running.sh(command, WEBHOOK_SECRET=SECRET, **variables) == "forged\n"
    assert not mark.exists()
