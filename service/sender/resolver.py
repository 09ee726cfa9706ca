"""Names to addresses, every one of which must be allowed."""

import socket
from collections.abc import Sequence
from time import monotonic

from service.domain.targets import LOOPBACK, TargetPolicy, check_address, is_localhost
from service.sender.attempt import Attempt
from service.sender.errors import TargetRefusedError
from service.sender.lookups import Lookup, Lookups

_CACHE_SECONDS = 10.0
_REMEMBERED_NAMES = 8192


def system_lookup(host: str) -> list[str]:
    """Ask the system's resolver for the addresses of a name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError:
        # without a descriptor to ask with, the resolver fails as if the name were at fault
        socket.socket().close()
        raise
    return [str(entry[4][0]) for entry in found]


class GuardedResolver:
    """Gives out nothing that the policy forbids; made on the loop that uses it.

    One forbidden address among several refuses them all: a name that points inside and outside
    is an attack or a mistake.
    """

    def __init__(self, policy: TargetPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookups = Lookups(lookup)
        #: Addresses of names at ports, and until when they are good, the oldest first.
        self._known: dict[tuple[str, int], tuple[float, Sequence[str]]] = {}

    async def resolve(self, attempt: Attempt) -> Sequence[str]:
        """The addresses of the attempt's host, at least one.

        Raises:
            CrowdedOutError: there was no room to ask.
            TargetRefusedError: the policy forbids one of them.
            OSError: there are none, or no answer came in time.
        """
        host, port = attempt.host, attempt.port
        addresses = await self._addresses(attempt)
        if not all(self._may_call(address, port, host) for address in addresses):
            raise TargetRefusedError
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "it has no address")
        return addresses

    async def _addresses(self, attempt: Attempt) -> Sequence[str]:
        host, port = attempt.host, attempt.port
        if is_localhost(host):
            # Fixed, so that allowing 127.0.0.0/8 suffices: the other loopback is just not used.
            allowed = [one for one in LOOPBACK if self._may_call(one, port, host)]
            return allowed or LOOPBACK
        until, addresses = self._known.get((host, port), (0.0, ()))
        if until > monotonic():
            return addresses
        addresses = await self._lookups.find(host, attempt)
        self._known.pop((host, port), None)
        self._known[host, port] = (monotonic() + _CACHE_SECONDS, addresses)
        if len(self._known) > _REMEMBERED_NAMES:
            del self._known[next(iter(self._known))]
        return addresses

    def _may_call(self, address: str, port: int, host: str) -> bool:
        return check_address(address, port, self._policy, host)
