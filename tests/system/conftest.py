"""The service as a process, real receivers, real sockets."""

import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.server import LOCAL, SERVICE, Server

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder after a first start, which takes longer than later ones."""
    folder = tmp_path_factory.mktemp("installed")
    with Server(folder) as server:
        assert server.stop() == 0
    return folder / "data"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Iterator[Server]:
    """One service for all tests that keep to operations and subscriptions of their own."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(installed, folder / "data")
    with Server(folder) as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path, installed: Path) -> Iterator[StartServer]:
    """Starts a service of the test's own, with settings of its own."""
    with ExitStack() as running:

        def start(
            settings: Mapping[str, str] | None = None,
            *arguments: str,
            local: bool = True,
            program: tuple[str, ...] = SERVICE,
        ) -> Server:
            folder = tmp_path / uuid.uuid4().hex
            shutil.copytree(installed, folder / "data")
            wanted = {**(LOCAL if local else {}), **(settings or {})}
            return running.enter_context(Server(folder, wanted, arguments, program=program))

        yield start


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Blackbox]:
    """A client of the shared service; its subscriptions are deleted afterwards."""
    async with blackbox(server) as box:
        yield box


@pytest.fixture
def kind() -> str:
    """A type of operation that no other test uses: what one subscribes to, nobody else posts."""
    return f"job-{uuid.uuid4().hex}"
