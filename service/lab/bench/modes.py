"""The ways to run the service, each opened with the servers that it stands on."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from service.domain.api_keys import KEY_BYTES, new_key
from service.lab.bench.databases import PostgresStore, Servers
from service.lab.bench.faults import BenchError
from service.lab.bench.hosting import EMBEDDED, Mode
from service.lab.bench.processes import HOST
from service.lab.processes import LabError
from service.lab.servers import Postgres, Valkey

#: As one would give to a server that has two cores and 4 GB. It keeps what it committed over a
#: crash and a loss of power (fsync, synchronous_commit), which are its defaults.
_SERVER: Final = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "5min",
}
#: The roles of each process; the other workers leave the sweeping to the first.
_FIRST: Final = {"api": "api", "worker": "worker,sweeper"}

Opening = Callable[[Path], AbstractContextManager[Mode]]


@contextmanager
def embedded(_: Path) -> Iterator[Mode]:
    """One process, SQLite."""
    yield EMBEDDED


@contextmanager
def distributed(folder: Path) -> Iterator[Mode]:
    """A process for the API, one for a worker, PostgreSQL and Redis.

    Raises:
        BenchError: the servers cannot be had.
    """
    with ExitStack() as ending:
        try:
            servers = _servers(folder, ending)
        except LabError as error:
            raise BenchError(str(error)) from error
        pids = {
            "postgres": servers.postgres.program.pid,
            "redis": servers.valkey.program.pid,
        }
        servers.postgres.create("naive")
        naive = (servers.postgres.url("naive"), servers.settings["RINGBACK_REDIS_URL"])
        yield Mode("distributed", _FIRST, lambda place: PostgresStore(servers, place), pids, naive)


def _servers(folder: Path, ending: ExitStack) -> Servers:
    postgres = Postgres(folder / "postgres.log", _SERVER)
    ending.callback(postgres.remove)
    postgres.install()
    postgres.start()
    valkey = Valkey(folder)
    ending.callback(valkey.program.kill)
    valkey.start()
    settings = {
        "RINGBACK_REDIS_URL": f"redis://{HOST}:{valkey.port}/0",
        "RINGBACK_ENCRYPTION_KEYS": f"bench:{base64.b64encode(os.urandom(32)).decode()}",
        "RINGBACK_ADMIN_KEY": new_key(os.urandom(KEY_BYTES)),
    }
    return Servers(postgres, valkey, settings)


MODES: Final[Mapping[str, Opening]] = {"embedded": embedded, "distributed": distributed}
