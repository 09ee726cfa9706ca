"""Which targets this installation may call, and by what addresses it would call itself."""

import socket
from urllib.parse import urlsplit

from service.domain.addresses import plain_ip
from service.domain.targets import TargetPolicy
from service.sender import to_ascii
from service.settings import Settings

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Any will do: to connect a datagram socket sends nothing.
_SOME_PORT = 9


def target_policy(settings: Settings) -> TargetPolicy:
    """The policy that the settings ask for."""
    return TargetPolicy(
        allow_http=settings.allow_http,
        allow_networks=settings.allow_targets.networks,
        allow_hosts=frozenset(settings.allow_targets.hosts),
        deny_self=_own_addresses(settings),
        has_address=has_address,
    )


def has_address(address: str) -> bool:
    """Whether this machine has the address: what one sends to oneself comes from there, too."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _SOME_PORT))
            return bool(probe.getsockname()[0] == probe.getpeername()[0])
    except OSError:  # it cannot be reached at all
        return False


def _own_addresses(settings: Settings) -> frozenset[tuple[str, int]]:
    """Hosts and ports at which this service is reached: names, and what it listens on by them."""
    url = urlsplit(settings.public_url)
    known = url.hostname or ""
    known = known if known.isascii() else to_ascii(known) or known
    hosts = {settings.host, *_listened_on(settings.host)}
    public = (known, url.port or _DEFAULT_PORTS[url.scheme])
    return frozenset({*((host, settings.port) for host in hosts), public})


def _listened_on(host: str) -> list[str]:
    """The addresses of the host to listen on; none if there are none, which listening will tell."""
    if plain_ip(host) is not None:
        return [host]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(entry[4][0]) for entry in found]
