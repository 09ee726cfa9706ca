"""Whom a request is from: the client, or whom a proxy names whose word counts."""

import json

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.runtime.doors import Door, listening
from service.settings import load

pytestmark = pytest.mark.anyio


async def app(scope: Scope, _: Receive, send: Send) -> None:
    """Says from whom the request is."""
    text = json.dumps({"client": scope["client"][0], "scheme": scope["scheme"]}).encode()
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def told(headers: dict[str, str]) -> list[str]:
    with listening("127.0.0.1", 0, "") as listener:
        door = Door(app, listener, load({}))
        door.open()
        async with httpx.AsyncClient() as client:
            port = listener.getsockname()[1]
            answer = (await client.get(f"http://127.0.0.1:{port}/", headers=headers)).json()
        await door.close()
    return [answer["scheme"], answer["client"]]


FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("trusted", "headers", "wanted"),
    [
        ("", {}, ["http", "127.0.0.1"]),
        ("", FORWARDED, ["https", "203.0.113.9"]),
        ("", {"X-Forwarded-For": "203.0.113.9"}, ["http", "203.0.113.9"]),
        ("", {"X-Forwarded-Proto": "https"}, ["https", "127.0.0.1"]),
        ("10.0.0.1", FORWARDED, ["http", "127.0.0.1"]),
        ("10.0.0.1,127.0.0.0/8", FORWARDED, ["https", "203.0.113.9"]),
    ],
)
async def test_a_proxy_is_believed_where_it_is_trusted(
    trusted: str, headers: dict[str, str], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    if trusted:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    assert await told(headers) == wanted
