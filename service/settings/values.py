"""From the text of a setting to its value, and back to text; one function per kind of value."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from service.domain.addresses import plain_ip
from service.domain.targets import is_numeric
from service.settings import parameters
from service.settings.server_url import POSTGRES, POSTGRES_FORM, server_url

MAX_DELAY = 31 * 86_400
MAX_ATTEMPTS = 50
MAX_PORT = 65_535
SQLITE = "sqlite:///"
SQLITE_FORMS = "sqlite:///relative.db or sqlite:////absolute.db"
HOST_AND_PORT = re.compile(
    r"(?:\[(?P<ipv6>[^]%]+)]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})"
)
REDIS_SCHEMES = frozenset({"redis", "rediss"})
REDIS_FORMS = "redis://HOST:PORT/0, rediss://HOST:PORT/0 (TLS) or unix:///PATH"
REDIS_DATABASE = re.compile(r"/?|/[0-9]{1,5}")
#: What a URL may say besides: whatever else the client takes would override our own time-outs, or
#: be shown where passwords are not.
REDIS_PARAMETERS = {
    "redis": frozenset({"client_name", "socket_keepalive"}),
    "rediss": frozenset(
        {
            "client_name",
            "socket_keepalive",
            "ssl_ca_certs",
            "ssl_ca_path",
            "ssl_cert_reqs",
            "ssl_certfile",
            "ssl_check_hostname",
            "ssl_keyfile",
        }
    ),
    "unix": frozenset({"client_name", "db"}),
}
USER_INFO = re.compile(r"(://).*@")
MASK = "********"
#: Requests per second of a key: one in about a quarter of an hour, or more than there could be.
SLOWEST = 0.001
FASTEST = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class AllowedTargets:
    """Otherwise forbidden targets that may be called.

    Attributes:
        networks: address ranges of which every port is allowed.
        hosts: (host, port) pairs; hosts in lower case, IPv6 addresses without brackets.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hosts: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        pairs = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        return ",".join([*map(str, self.networks), *pairs])


@dataclass(frozen=True)
class Form:
    """What a field's text must look like, in words, and how its value is written back as text."""

    expected: str
    show: Callable[[Any], str] = str


def each(text: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    """Parse a comma list; raises one ValueError about all of its bad entries."""
    parsed: list[T] = []
    faults: list[str] = []
    for entry in text.split(","):
        try:
            parsed.append(parse(entry.strip()))
        except ValueError as fault:
            faults.append(str(fault))
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(parsed)


def database_url(url: str) -> str:
    """Where the database is; never repeats a refused URL, which may hold a password."""
    if url.startswith(POSTGRES):
        return server_url(url)
    if url.startswith("postgres"):
        raise ValueError(f"is not the URL of a PostgreSQL database; use {POSTGRES_FORM}")
    path = url.removeprefix(SQLITE)
    no_file = not path or path.endswith("/") or path.startswith((":", "file:"))
    if path == url or no_file or "?" in path:
        raise ValueError(
            f"is not the URL of an SQLite file or a PostgreSQL database; use {SQLITE_FORMS}, or "
            f"{POSTGRES_FORM}"
        )
    return url


def without_password(url: str) -> str:
    """The URL of a database as it may be shown."""
    if not url.startswith(POSTGRES):
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    place = f"{name}:{MASK}@{host}" if colon else parts.netloc
    query = re.sub(r"(password=)[^&]*", rf"\1{MASK}", parts.query)
    return f"{POSTGRES}{place}{parts.path}{f'?{query}' if query else ''}"


def redis_url(url: str) -> str:
    """The URL of a Redis; never repeats a refused one, which may hold a password."""
    if not _names_a_redis(url):
        raise ValueError(f"is not the URL of a Redis; use {REDIS_FORMS}")
    parts = urlsplit(url)
    for name, value in parameters.read(parts.query, REDIS_PARAMETERS[parts.scheme]):
        parameters.check_value(name, value)
    return url


def _names_a_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:  # of the port or of an IPv6 address
        return False
    if parts.fragment:
        return False
    if parts.scheme == "unix":
        return len(parts.path) > 1
    by_number = REDIS_DATABASE.fullmatch(parts.path) is not None
    return parts.scheme in REDIS_SCHEMES and bool(parts.hostname) and port_fits and by_number


def without_user(url: str) -> str:
    """A URL fit to be shown."""
    return USER_INFO.sub(rf"\1{MASK}@", url)


def rate_limit(limit: float) -> float:
    """No limit, or one that lets a request through now and then."""
    if 0 < limit < SLOWEST:
        raise ValueError(f"{limit} would let hardly anything through; give {SLOWEST} or more, or 0")
    return limit


def key(secret: SecretStr | None) -> SecretStr | None:
    """A key that travels in a header unchanged: visible ASCII."""
    text = secret.get_secret_value() if secret else ""
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("has a blank or a non-ASCII character; use letters, digits and signs")
    return secret


def base_url(url: str) -> str:
    """An absolute http(s) URL to which paths can be added; without a slash at its end."""
    parts = _web_address(url)
    if parts is None or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not a base URL; give one such as https://hooks.example.com")
    return url.rstrip("/")


def origins(text: str) -> tuple[str, ...]:
    """A comma list of web origins, in lower case as browsers send them."""
    return each(text, _origin) if text else ()


def _origin(entry: str) -> str:
    parts = _web_address(entry)
    if parts is None or f"{parts.scheme}://{parts.netloc}" != entry.lower():
        raise ValueError(f"{entry!r} is not an origin; give one such as https://app.example.com")
    return entry.lower()


def _web_address(url: str) -> SplitResult | None:
    """The parts of an http(s) URL that has a host and no credentials, in lower case."""
    try:
        parts = urlsplit(url.lower())
        port_fits = parts.port != 0
    except ValueError:  # of the port or of an IPv6 address
        return None
    plain = port_fits and parts.scheme in {"http", "https"} and "@" not in parts.netloc
    return parts if plain and parts.hostname else None


def targets(text: str) -> AllowedTargets:
    """A comma list of CIDRs and of `host:port`."""
    entries = each(text, _target) if text else ()
    return AllowedTargets(
        networks=tuple(entry for entry in entries if not isinstance(entry, tuple)),
        hosts=tuple(entry for entry in entries if isinstance(entry, tuple)),
    )


def _target(entry: str) -> IPv4Network | IPv6Network | tuple[str, int]:
    pair = HOST_AND_PORT.fullmatch(entry)
    if pair:
        return _host_and_port(pair)
    try:
        return ip_network(entry)
    except ValueError:
        raise ValueError(f"{entry!r} is neither a CIDR nor host:port; {_hint(entry)}") from None


def _hint(entry: str) -> str:
    try:
        return f"did you mean {ip_network(entry, strict=False)}?"
    except ValueError:
        return "give, for example, 10.0.0.0/8, localhost:9000 or [::1]:9000"


def _host_and_port(pair: re.Match[str]) -> tuple[str, int]:
    port = int(pair["port"])
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"{pair[0]!r} has no port from 1 to {MAX_PORT}")
    if pair["ipv6"] is None:
        return _host(pair["host"].lower().rstrip(".")), port
    try:
        return str(IPv6Address(pair["ipv6"])), port
    except ValueError:
        raise ValueError(f"{pair[0]!r} has no IPv6 address in its brackets") from None


def _host(host: str) -> str:
    """A name, or an IPv4 address in full: no callback URL may have it in another form."""
    if is_numeric(host) and plain_ip(host) is None:
        raise ValueError(
            f"{host!r} is not an IPv4 address in full; write four decimal numbers such as 10.0.0.1"
        )
    return host


def schedule(text: str) -> tuple[float, ...]:
    """A comma list of delays in seconds, one for each attempt."""
    delays = each(text, _delay)
    if len(delays) > MAX_ATTEMPTS:
        raise ValueError(f"has {len(delays)} entries; give at most {MAX_ATTEMPTS}")
    return delays


def _delay(entry: str) -> float:
    try:
        seconds = float(entry)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_DELAY:  # false for NaN too
        raise ValueError(f"{entry!r} is not a delay; give seconds from 0 to {MAX_DELAY} (31 days)")
    return seconds


def default_public_url(fields: dict[str, Any]) -> str:
    """`http://HOST:PORT` of where the API listens."""
    host = fields["host"]
    return f"http://{f'[{host}]' if ':' in host else host}:{fields['port']}"


def number(value: float) -> str:
    """A number without a needless `.0`."""
    return str(value).removesuffix(".0")


def numbers(values: tuple[float, ...]) -> str:
    """A comma list of numbers."""
    return ",".join(map(number, values))
