"""Names to addresses, every one of which must be allowed."""

import socket
from collections.abc import Sequence
from time import perf_counter

from aiohttp.abc import AbstractResolver, ResolveResult

from service.domain.targets import LOOPBACK, TargetPolicy, check_address, is_localhost
from service.sender.attempt import current
from service.sender.lookups import Lookup, Lookups


class TargetRefusedError(OSError):
    """The policy forbids an address."""


def system_lookup(host: str) -> list[str]:
    """Ask the system's resolver for the addresses of a name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(entry[4][0]) for entry in found]


class GuardedResolver(AbstractResolver):
    """Gives out nothing that the policy forbids.

    One forbidden address among several refuses them all: a name that points inside and outside
    is an attack or a mistake.
    """

    def __init__(self, policy: TargetPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookups = Lookups(lookup)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of ``host``.

        Raises:
            TargetRefusedError: the policy forbids one of them.
            OSError: there are none, or no answer came in time.
        """
        attempt = current.get()
        if attempt is not None:
            attempt.resolving = perf_counter()
        addresses = await self._addresses(host, port)
        if attempt is not None:
            attempt.resolved = perf_counter()
        if not all(self._may_call(address, port, host) for address in addresses):
            raise TargetRefusedError
        results = [_result(host, port, address) for address in addresses if _fits(address, family)]
        if not results:
            raise socket.gaierror(socket.EAI_NONAME, "it has no address")
        return results

    async def close(self) -> None:
        """Nothing to close: a look-up under way ends by itself, and nobody waits for it."""

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        if is_localhost(host):
            # Fixed, so that allowing 127.0.0.0/8 suffices: the other loopback is just not used.
            allowed = [one for one in LOOPBACK if self._may_call(one, port, host)]
            return allowed or LOOPBACK
        return await self._lookups.find(host)

    def _may_call(self, address: str, port: int, host: str) -> bool:
        return check_address(address, port, self._policy, host)


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=_family(address),
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _fits(address: str, family: socket.AddressFamily) -> bool:
    return family in (socket.AF_UNSPEC, _family(address))
