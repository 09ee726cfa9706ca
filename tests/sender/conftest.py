"""Senders that may call the receivers of these tests, on both event loops the service runs on."""

from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest

from service.domain.request import OutboundRequest
from service.domain.targets import TargetPolicy
from service.sender import GuardedSender
from tests.support.receiver import Receiver

LOOPBACK = TargetPolicy(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))

Ask = Callable[..., OutboundRequest]


@pytest.fixture(
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - the plugin's own type
    return request.param


@pytest.fixture
async def sender() -> AsyncIterator[GuardedSender]:
    one = GuardedSender(LOOPBACK)
    yield one
    await one.close()


@pytest.fixture
def ask(receiver: Receiver) -> Ask:
    """Make a request to the receiver."""

    def make(
        path: str = "/", body: bytes = b"{}", timeout: float = 5.0, url: str | None = None
    ) -> OutboundRequest:
        headers = (("content-type", "application/json"), ("webhook-id", "evt_1"))
        return OutboundRequest(url or receiver.url(path), headers, body, timeout)

    return make
