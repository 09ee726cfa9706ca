"""Which addresses are called, from outside: what policy forbids is refused, early and late."""

import pytest

from tests.support.blackbox import blackbox
from tests.support.receiver import Receiver
from tests.system.conftest import StartServer

FORBIDDEN = {
    "http://example.com/": "https",
    "https://127.0.0.1/": "RINGBACK_ALLOW_TARGETS",
    "https://localhost/": "RINGBACK_ALLOW_TARGETS",
    "https://[::1]/": "RINGBACK_ALLOW_TARGETS",
    "https://10.0.0.1/": "RINGBACK_ALLOW_TARGETS",
    "https://169.254.169.254/latest/meta-data": "RINGBACK_ALLOW_TARGETS",
    "https://[64:ff9b::7f00:1]/": "RINGBACK_ALLOW_TARGETS",
    "https://2130706433/": "IPv4",
    "https://example.com:22/": "443",
}


async def test_by_default_only_public_https_is_taken(start_server: StartServer) -> None:
    server = start_server(local=False)
    async with blackbox(server) as api:
        for url, word in FORBIDDEN.items():
            problem = await api.post("/v1/subscriptions", {"url": url}, 422)
            (error,) = problem["errors"]
            assert error["pointer"] == "/url"
            assert word in error["detail"], url
        made = await api.subscribe("https://example.com/hook")
        answer = await api.http.patch(
            f"/v1/subscriptions/{made['id']}", json={"url": "https://127.0.0.1/"}
        )
        assert answer.status_code == 422
        (listed,) = await api.all("/v1/subscriptions")
        assert listed["url"] == "https://example.com/hook"


async def test_one_port_allowed_is_one_port_allowed(
    start_server: StartServer, receiver: Receiver
) -> None:
    async with Receiver() as other:
        settings = {
            "RINGBACK_ALLOW_HTTP": "true",
            "RINGBACK_ALLOW_TARGETS": f"127.0.0.1:{receiver.port}",
        }
        server = start_server(settings, local=False)
        async with blackbox(server) as api:
            problem = await api.post("/v1/subscriptions", {"url": other.url("/")}, 422)
            assert "RINGBACK_ALLOW_TARGETS" in problem["errors"][0]["detail"]
            subscription = await api.subscribe(receiver.url("/"))
            await api.event("op-1", "STARTED")
            await api.deliveries(subscription, 1, "delivered")
        assert other.requests == []


@pytest.mark.parametrize("how", ["at first", "by replay"])
async def test_a_target_forbidden_since_is_dead_at_once_and_never_called(
    start_server: StartServer, receiver: Receiver, how: str
) -> None:
    """Policy became stricter between two starts."""
    server = start_server({"RINGBACK_RETRY_SCHEDULE": "0,3600"})
    async with blackbox(server) as api:
        subscription = await api.subscribe(receiver.url("/"))
        api.made.clear()
        await api.post(f"/v1/subscriptions/{subscription['id']}/pause", None, 200)
        await api.event("op-1", "STARTED")
    assert server.stop() == 0
    server.settings = {"RINGBACK_ALLOW_HTTP": "true"}
    server.start()

    async with blackbox(server) as api:
        await api.post(f"/v1/subscriptions/{subscription['id']}/resume", None, 200)
        dead = await api.dead_letter(subscription)
        assert dead["attempts"] == 1
        if how == "by replay":
            await api.post(f"/v1/dead-letters/{dead['id']}/replay")
            path = f"/v1/dead-letters/{dead['id']}"
            dead = await api.until(path, lambda d: d["state"] == "open" and d["attempts"] == 2)
        assert dead["reason"] == "blocked_target"
        assert dead["lastOutcome"]["errorClass"] == "blocked"
        trial = await api.post(f"/v1/subscriptions/{subscription['id']}/test", None, 200)
        assert trial["errorClass"] == "blocked"
    assert receiver.connections == 0


async def test_ringback_does_not_call_itself(start_server: StartServer) -> None:
    server = start_server()
    async with blackbox(server) as api:
        for host in ("127.0.0.1", "localhost", "127.0.0.2"):
            url = f"http://{host}:{server.port}/v1/events"
            answer = await api.http.post("/v1/subscriptions", json={"url": url})
            if host == "127.0.0.2":  # it does not listen there
                assert answer.status_code == 201
            else:
                assert answer.status_code == 422
                assert "itself" in answer.json()["errors"][0]["detail"]
