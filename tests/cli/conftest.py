"""A service that the commands of a test talk to, each test as a tenant of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

import httpx
import pytest

from service.cli.receiving import Request, RequestServer, serving
from tests.support.server import LOCAL, Server
from tests.support.terminal import Terminal

QUICK = {**LOCAL, "RINGBACK_RETRY_SCHEDULE": "0,0.1"}
_numbers = count(1)


class Receiver(RequestServer):
    """Answers ``status``, and keeps what came."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 204
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}/hook"

    def take(self, request: Request) -> int:
        self.requests.append(request)
        return self.status


@dataclass(frozen=True)
class Shop:
    """A tenant: its shell, and its id."""

    url: str
    key: str
    tenant: str
    environ: dict[str, str] = field(default_factory=dict)

    def terminal(self, width: int = 0) -> Terminal:
        shell = {"RINGBACK_URL": self.url, "RINGBACK_API_KEY": self.key, **self.environ}
        return Terminal(shell, ("--tenant", self.tenant), width)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("cli"), QUICK) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def shop(service: Server) -> Shop:
    name = f"shop{next(_numbers)}"
    made = httpx.post(
        f"{service.url}/v1/tenants",
        json={"id": name, "name": name},
        headers={"authorization": f"Bearer {service.admin_key}"},
    )
    assert made.status_code == 201
    return Shop(service.url, service.admin_key, name)


@pytest.fixture
def run(shop: Shop) -> Terminal:
    return shop.terminal()


@pytest.fixture
def receivers() -> Iterator[Callable[[int], Receiver]]:
    """Makes receivers that answer a status."""
    with ExitStack() as opened:

        def make(status: int = 204) -> Receiver:
            receiver = opened.enter_context(serving(Receiver()))
            receiver.status = status
            return receiver

        yield make
