"""What every test can use."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from tests.support import postgres
from tests.support.authority import Authority
from tests.support.receiver import Receiver
from tests.support.valkey import Valkey


def pytest_configure() -> None:
    """Hear an interruption though a background shell ignores it: whom tests start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected out of the garbage collector's way: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does.

    A test has a loop of its own, unless it shares something that needs one with others.
    """
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of those whom the system trusts there is one: to read a hundred takes each client 20 ms."""
    path = tmp_path_factory.mktemp("authorities") / "all.pem"
    path.write_text(Authority.make("The system's").pem)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that tests share, each with keys of its own: ``TEST_REDIS_URL``, or one made here."""
    own = os.environ.get("TEST_REDIS_URL")
    if own:
        yield own
        return
    with Valkey() as server:
        yield server.url


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A Redis of the test's own, to be ill-treated."""
    with Valkey() as server:
        yield server


@pytest.fixture(scope="session")
def databases() -> Iterator[postgres.Databases]:
    """Databases of a PostgreSQL server, which is started when the first test wants one."""
    with postgres.databases() as databases:
        yield databases


@pytest.fixture
async def reports() -> AsyncIterator[list[tuple[str, BaseException]]]:
    """What was told of bugs, and the bugs."""
    told: list[tuple[str, BaseException]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, c: told.append((c["message"], c["exception"])))
    yield told
    loop.set_exception_handler(None)
