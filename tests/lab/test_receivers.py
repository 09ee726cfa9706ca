"""The torture's receivers: logged before answered, and signatures judged by code of their own."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from service.domain.signature import key_bytes, new_secret, sign_body, sign_standard
from service.lab.processes import HOST, Program, environment, free_port, module
from service.lab.torture.evidence import read_received
from service.lab.torture.receivers import ALL, FLAKY, is_signed, secret

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


def signed(path: str, body: bytes, name: str = "e-1", attempt: int = 1) -> dict[str, str]:
    key, moment = key_bytes(secret(7, path)), int(time.time())
    return {
        "webhook-id": name,
        "webhook-timestamp": str(moment),
        "webhook-signature": sign_standard([key], name, moment, body),
        "x-webhook-signature": sign_body(key, body),
        "x-webhook-attempt": str(attempt),
        "x-webhook-delivery": f"dlv_{name}",
        "x-operation-id": "op",
        "x-operation-sequence": "1",
    }


def test_right_signatures_are_right_for_both_libraries() -> None:
    headers, body = signed(ALL, b"{}"), b"{}"

    Webhook(secret(7, ALL)).verify(body, headers, json_parse=False)
    assert is_signed(7, ALL, headers, body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-signature": "v1,AAAA"},
        {"x-webhook-signature": "sha256=00"},
        {"webhook-id": "other"},
        {"webhook-timestamp": "1"},
    ],
)
def test_wrong_ones_are_wrong(wrong: dict[str, str]) -> None:
    assert not is_signed(7, ALL, signed(ALL, b"{}") | wrong, b"{}")
    assert not is_signed(7, ALL, signed(ALL, b"{}"), b"{ }")
    assert not is_signed(8, ALL, signed(ALL, b"{}"), b"{}")


def test_each_path_and_seed_has_a_secret_that_the_service_takes() -> None:
    secrets = {secret(seed, path) for seed in (1, 2) for path in (ALL, FLAKY)}

    assert len(secrets) == 4
    assert {len(text) for text in secrets} == {len(new_secret(bytes(32)))}


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    port, log = free_port(), tmp_path / "received.jsonl"
    words = ["--log", str(log), "--port", str(port), "--seed", "7"]
    command = module("service.lab.torture.receivers", *words)
    program = Program(command, tmp_path, tmp_path / "log", environment({}))
    program.spawn()
    yield port, log
    program.kill()


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, as soon as somebody listens."""
    while True:
        try:
            return await asyncio.open_connection(HOST, port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)


async def post(port: int, *requests: tuple[str, dict[str, str], bytes]) -> list[int]:
    """Pipeline requests over one connection; the statuses."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await connected(port)
        for path, headers, body in requests:
            lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
            head = f"POST {path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n{''.join(lines)}\r\n"
            writer.write(head.encode() + body)
        found = [await reader.readuntil(b"\r\n\r\n") for _ in requests]
        writer.close()
    return [int(each.split()[1]) for each in found]


async def test_every_request_is_in_the_log_when_it_is_answered(
    receivers: tuple[int, Path],
) -> None:
    port, log = receivers
    body = json.dumps({"data": {"price": "1.10 緑"}}).encode()
    asked = [(FLAKY, signed(FLAKY, body, f"e-{n}"), body) for n in range(40)]
    asked.append((ALL, signed(ALL, body, "bad") | {"webhook-signature": "v1,no"}, body))

    statuses = await post(port, *asked)

    found = read_received(log)
    assert [each.status for each in found] == statuses
    assert [each.event for each in found] == [f"e-{n}" for n in range(40)] + ["bad"]
    assert [each.is_signed for each in found] == [True] * 40 + [False]
    assert set(statuses[:40]) == {204, 503}
    assert found[0].body == body.decode()
