"""Where a delivery may go: a strict reading of callback URLs and an explicit deny list.

A URL is judged twice: its text by :func:`parse_target` when it is registered and again before each
attempt, and the address really connected to by :func:`check_address`, because a name can point
somewhere else by then. Both fail closed.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from service.domain.addresses import IPAddress, carried, is_public, plain_ip

NOT_ALLOWED = (
    "The target address is not allowed; an operator can allow it with RINGBACK_ALLOW_TARGETS."
)
#: All that is said of an attempt that was blocked, whatever the reason: what a name of the inside
#: points to is not the tenant's to find out.
BLOCKED = (
    "The target is not allowed; an operator can allow it"
    " (RINGBACK_ALLOW_TARGETS, RINGBACK_ALLOW_HTTP)."
)
_SELF = "This is an address of Ringback itself; a delivery to it would go round in circles."

MAX_URL_LENGTH = 2048
_MAX_HOST_LENGTH = 253
_LAST_PORT = 65_535
_FIRST_UNPRIVILEGED_PORT = 1024
_DEFAULT_PORTS = {"https": 443, "http": 80}

#: What ``localhost`` and every name below it mean, whatever a name server says (RFC 6761).
LOOPBACK = ("127.0.0.1", "::1")

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRINTABLE = re.compile(r"[!-~]*")


def _canonical_hosts(hosts: frozenset[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    return frozenset((_canonical(host), port) for host, port in hosts)


def _canonical(host: str) -> str:
    name = host.strip("[]").lower().removesuffix(".")
    ip = plain_ip(name)
    return name if ip is None else str(ip)


def _nowhere(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """What may be called besides public addresses on ports 80, 443 and 1024-65535."""

    allow_http: bool = False
    #: Networks that may be called on every port. What carries an IPv4 address (NAT64) may be called
    #: only if that address may be, too.
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    #: Pairs of a name or an address, and a port, that may be called.
    allow_hosts: frozenset[tuple[str, int]] = frozenset()
    #: Where this service itself listens or is known: never called, whatever is allowed.
    #: ``0.0.0.0`` and ``::`` stand for every address that this machine has.
    deny_self: frozenset[tuple[str, int]] = frozenset()
    #: Whether this machine has an address; asked only for a port that is listened on everywhere.
    has_address: Callable[[str], bool] = _nowhere

    def __post_init__(self) -> None:
        """Bring the hosts into the form they are compared in."""
        object.__setattr__(self, "allow_hosts", _canonical_hosts(self.allow_hosts))
        object.__setattr__(self, "deny_self", _canonical_hosts(self.deny_self))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed: its host in ASCII and lower case, an address in its canonical form."""

    scheme: str
    host: str
    port: int
    #: From the first slash on, exactly as given.
    path_and_query: str

    @property
    def url(self) -> str:
        """The URL to call; a default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path_and_query}"


def parse_target(
    url: str, policy: TargetPolicy, to_ascii: Callable[[str], str | None]
) -> Target | str:
    """Read a callback URL strictly.

    Args:
        url: The URL as somebody wrote it.
        policy: What may be called.
        to_ascii: Gives the ``xn--`` form of a host name that is not ASCII, or ``None``.

    Returns:
        The target, or a fault: in plain words what is wrong and what to do.
    """
    split = _URL.fullmatch(url)
    if split is None:
        return "This is not an absolute URL; write it like https://example.com/hooks."
    scheme, authority, rest = split[1].lower(), split[2], split[3]
    fault = _text_fault(url, rest) or _scheme_fault(scheme, policy)
    if fault:
        return fault
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return _authority_fault(authority)
    host = _ascii_host(parts[1], to_ascii)
    port = int(parts[2]) if parts[2] else _DEFAULT_PORTS[scheme]
    path = rest if rest.startswith("/") else f"/{rest}"
    target = Target(scheme, _canonical(host), port, path)
    return _host_fault(host) or _reach_fault(target, policy) or target


def check_address(address: str, port: int, policy: TargetPolicy, host: str | None = None) -> bool:
    """Whether a connection to ``address`` and ``port`` may be made.

    Args:
        address: The address itself, as the resolver or the socket names it.
        port: The port, which must be 80, 443 or at least 1024 unless it is explicitly allowed.
        policy: What may be called.
        host: The name the address was found under, if any: an allowed name allows its addresses.
    """
    ip = plain_ip(address)
    if ip is None or not 0 < port <= _LAST_PORT or _is_self(ip, port, policy, host):
        return False
    return _may_reach(ip, port, policy, host)


def is_localhost(host: str) -> bool:
    """Whether a name means this very machine by definition."""
    return host == "localhost" or host.endswith(".localhost")


def _is_self(ip: IPAddress, port: int, policy: TargetPolicy, host: str | None) -> bool:
    listens = frozenset(own for own, own_port in policy.deny_self if own_port == port)
    if not listens:
        return False
    inner = carried(ip)
    forms = (ip,) if inner is None else (ip, inner)
    return host in listens or any(_leads_to(form, listens, policy) for form in forms)


def _leads_to(ip: IPAddress, listens: frozenset[str], policy: TargetPolicy) -> bool:
    if ip.is_unspecified:  # systems take it for loopback
        return True
    everywhere = not listens.isdisjoint(_EVERYWHERE)
    has = everywhere and (ip.is_loopback or policy.has_address(str(ip)))
    return has or str(ip) in listens


def _may_reach(ip: IPAddress, port: int, policy: TargetPolicy, host: str | None) -> bool:
    hosts = policy.allow_hosts
    if (str(ip), port) in hosts or (host, port) in hosts:
        return True
    if any(ip in network for network in policy.allow_networks):
        inner = carried(ip)
        return inner is None or _may_reach(inner, port, policy, None)
    return is_public(ip) and _is_usual(port)


def _is_usual(port: int) -> bool:
    return port in _DEFAULT_PORTS.values() or port >= _FIRST_UNPRIVILEGED_PORT


def _text_fault(url: str, rest: str) -> str | None:
    if len(url) > MAX_URL_LENGTH:
        return f"The URL is longer than {MAX_URL_LENGTH} characters; use a shorter one."
    if "\\" in url:
        return "The URL contains a backslash; write / or %5C."
    if any(unicodedata.category(character)[0] in "CZ" for character in url):
        return "The URL contains white space or a control character; percent-encode or remove it."
    if "#" in url:
        return "The URL has a fragment, which is never sent; remove # and what follows."
    if _PRINTABLE.fullmatch(rest) is None:
        return "The path or query contains characters outside ASCII; percent-encode them."
    return None


def _scheme_fault(scheme: str, policy: TargetPolicy) -> str | None:
    if scheme == "https" or (scheme == "http" and policy.allow_http):
        return None
    if scheme == "http":
        return (
            "http:// is not allowed here; use https://"
            " (an operator can allow it with RINGBACK_ALLOW_HTTP)."
        )
    return f"The scheme {scheme!r} is not supported; use https://."


def _authority_fault(authority: str) -> str:
    if "@" in authority:
        return "The URL contains a user name or password; remove it and use a header instead."
    if "%" in authority:
        return "The host contains a percent sign; write the host name or address plainly."
    if "[" in authority or "]" in authority:
        return "The IPv6 address is not valid; write it like https://[2a00::1]:8443/hooks."
    return "The port is not valid; write a number from 1 to 65535 without leading zeros."


def _ascii_host(host: str, to_ascii: Callable[[str], str | None]) -> str:
    """The host in ASCII and lower case, without a final dot; empty if it has no such form."""
    if not host.isascii():
        # IDNA 2008 knows no compatibility characters. Mapping them would make one host of many
        # spellings, and an address of full-width or circled digits.
        plain = unicodedata.normalize("NFC", host)
        stable = unicodedata.normalize("NFKC", host) == plain
        host = (to_ascii(plain) or "") if stable and not _has_double(host) else ""
        if is_numeric(host.removesuffix(".")):
            return ""
    return host.lower().removesuffix(".")


def _has_double(host: str) -> bool:
    """Whether a character outside ASCII stands for one within, as the Kelvin sign does for K."""
    return any(unicodedata.normalize("NFC", each).isascii() for each in host if each > "\x7f")


def _host_fault(host: str) -> str | None:
    if host.startswith("["):
        valid = ":" in host and plain_ip(host[1:-1]) is not None
        return None if valid else _authority_fault(host)
    if "@" in host or "%" in host:
        return _authority_fault(host)
    if not host or len(host) > _MAX_HOST_LENGTH:
        return "The host is missing or not valid; write a host name of at most 253 characters."
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        return "The host name is not valid; use letters, digits, hyphens and single dots."
    if is_numeric(host) and plain_ip(host) is None:
        return "The address is not valid; write IPv4 as four decimal numbers such as 192.0.2.10."
    return None


def is_numeric(host: str) -> bool:
    """Whether C libraries may take it for an IPv4 address; no top-level domain is a number."""
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _reach_fault(target: Target, policy: TargetPolicy) -> str | None:
    """What can be said without a name server; the rest is judged when the address is known."""
    host, port = target.host, target.port
    if port > _LAST_PORT:
        return "The port is not valid; write a number from 1 to 65535 without leading zeros."
    known = LOOPBACK if is_localhost(host) else (host,)
    ips = [ip for ip in map(plain_ip, known) if ip is not None]
    if ips and not any(_may_reach(ip, port, policy, host) for ip in ips):
        return NOT_ALLOWED  # even if it is ours: where we listen inside is not told
    if (host, port) in policy.deny_self or any(_is_self(ip, port, policy, host) for ip in ips):
        return _SELF
    if ips:
        return None
    if _is_usual(port) or (host, port) in policy.allow_hosts or policy.allow_networks:
        return None
    return (
        f"Port {port} is not allowed; use 80, 443 or 1024-65535"
        " (an operator can allow more with RINGBACK_ALLOW_TARGETS)."
    )
