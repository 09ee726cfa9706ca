"""The URL of a PostgreSQL database: what it may say, so that nothing of it is dropped silently."""

from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from service.settings import parameters

POSTGRES: Final = "postgresql://"
POSTGRES_FORM: Final = "postgresql://user:password@host:5432/database"
#: Whether a pooler stands before the server.
POOLED: Final = "pgbouncer"
#: What the driver takes from a URL, and what it hands on to the server unchanged. Whatever else
#: it would hand on as well, for the server to refuse, or for our own limits to override.
_KNOWN: Final = frozenset(
    {
        POOLED,
        "database",
        "dbname",
        "gsslib",
        "host",
        "krbsrvname",
        "options",
        "passfile",
        "password",
        "port",
        "search_path",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
        "user",
    }
)
_YES: Final = frozenset({"true", "1", "yes", "on", "t", "y"})
_NO: Final = frozenset({"false", "0", "no", "off", "f", "n"})


def server_url(url: str) -> str:
    """The URL with its flag spelled ``true`` or ``false``.

    Raises:
        ValueError: it is none, or says what nobody would heed; no value of it is repeated.
    """
    parts = _parts(url)
    given = parameters.read(parts.query, _KNOWN)
    for name, value in given:
        if name == POOLED and not _word(value):
            raise ValueError(f"has a {POOLED} that is neither true nor false; write {POOLED}=true")
        parameters.check_value(name, value)
    if POOLED not in dict(given):
        return url
    spelled = [(name, _word(value) if name == POOLED else value) for name, value in given]
    return urlunsplit(parts._replace(query=urlencode(spelled, safe="/")))


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:  # of the port
        raise ValueError(f"is not the URL of a PostgreSQL database; use {POSTGRES_FORM}") from None
    # the host may be left to the query: a folder of sockets
    names_a_host = parts.hostname or "host=" in parts.query
    if not port_fits or len(parts.path) <= 1 or not names_a_host or parts.fragment:
        raise ValueError(f"is not the URL of a PostgreSQL database; use {POSTGRES_FORM}")
    return parts


def _word(value: str) -> str:
    """``true`` or ``false`` for the usual words; empty for others."""
    word = value.strip().lower()
    return "true" if word in _YES else "false" if word in _NO else ""
