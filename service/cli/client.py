"""The service as the command line sees it: its public HTTP API, and nothing else.

Whatever goes wrong is a :class:`CommandError` that says what happened and what to do next.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import typer

from service.cli import exact
from service.cli.commanding import Needs
from service.cli.exits import CommandError, Exit, of_status

if TYPE_CHECKING:
    import httpx

Json = Any
Query = Mapping[str, object]

URL: Final = "http://127.0.0.1:8080"
_SQLITE: Final = "sqlite:///"
_DATABASE: Final = "sqlite:///./data/ringback.db"
_KEY_FILE: Final = "admin.key"
#: The service speaks at least every 15 s on a stream, if only a comment.
_SILENCE: Final = 40.0
#: Refused for the moment only: a request is repeated so often, after as many seconds as were asked.
_BUSY: Final = frozenset({429, 503})
_REPEATS: Final = 2
_LONGEST_WAIT: Final = 5.0
_PAGE: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOO_MANY_REQUESTS: Final = 429
_UNAVAILABLE: Final = 503


#: How errors of TLS begin, and what to do about them and about all others.
_TLS: Final = "[SSL"
_NO_TLS: Final = (
    "Check that --url begins as the service is spoken to, http:// or https://, and that this "
    "machine trusts its certificate (SSL_CERT_FILE names authorities of your own)."
)
_NOT_THERE: Final = (
    "Start the service with `make run` or `ringback serve`, or name another with --url "
    "or RINGBACK_URL."
)


class Api:
    """Requests to one service with one key; ``timeout`` is in seconds."""

    def __init__(self, url: str, key: str | None, tenant: str | None, timeout: float) -> None:
        self.url = _checked(url)
        self._key = _header("--key or RINGBACK_API_KEY", key)
        self._tenant = _header("--tenant", tenant)
        self._timeout = timeout
        self._opened: httpx.Client | None = None

    def get(self, path: str, query: Query | None = None) -> Json:
        """The document at a path."""
        return self.send("GET", path, query=query)

    def post(self, path: str, body: object = None) -> Json:
        """What came of a POST with a JSON body; repeated, it is done once."""
        return self.post_text(path, exact.dumps({} if body is None else body))

    def post_text(
        self, path: str, content: str, media_type: str = "application/json", key: str | None = None
    ) -> Json:
        """What came of a POST; ``key`` is its Idempotency-Key, else it gets one of its own."""
        headers = {"content-type": media_type, "idempotency-key": key or str(uuid4())}
        return self.send("POST", path, content=content, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """The JSON of an answer; ``None`` where it has no body."""
        answer = self._answer(method, path, query, content, headers)
        return self._parsed(answer) if answer.content else None

    def text(self, path: str) -> str:
        """The document at a path as it is written."""
        return self._answer("GET", path).text

    def _answer(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        content: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "httpx.Response":
        """A successful answer; what is busy is asked again, with POSTs that happen once."""
        own = {"content-type": "application/json"} if content is not None else {}
        given = {**own, **(headers or {})}
        # what a file has that is no UTF-8 goes as it is: the service says where
        body = None if content is None else content.encode("utf-8", "surrogateescape")
        repeats = 0
        while True:
            with _explained(self.url):
                answer = self._client.request(
                    method, path, params=_given(query), content=body, headers=given
                )
            if answer.is_success:
                return answer
            wait = answer.headers.get("retry-after", "")
            if answer.status_code not in _BUSY or repeats == _REPEATS or not wait.isdigit():
                raise self._refusal(answer)
            repeats += 1
            time.sleep(min(float(wait), _LONGEST_WAIT))

    def pages(self, path: str, query: Query, limit: int | None) -> Iterator[Json]:
        """The items of a list, page by page; ``None``: all of them.

        A page may be short, even empty, and have a next one.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self.get(path, {**query, "limit": size, "cursor": cursor})
            yield from page["data"]
            cursor = page["pagination"]["nextCursor"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["data"])

    @contextmanager
    def stream(self, path: str, query: Query) -> Iterator[Iterator[tuple[str, Json]]]:
        """The messages of a stream of Server-Sent Events: their ids and their data."""
        import httpx

        silence = httpx.Timeout(self._timeout, read=_SILENCE)
        with (
            _explained(self.url),
            self._client.stream("GET", path, params=_given(query), timeout=silence) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise self._refusal(answer)
            yield _messages(answer.iter_lines())

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _client(self) -> "httpx.Client":
        if self._opened is None:
            import httpx

            headers = {"accept-encoding": "identity"}
            if self._key:
                headers["authorization"] = f"Bearer {self._key}"
            if self._tenant:
                headers["ringback-tenant"] = self._tenant
            self._opened = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=self._timeout,
                trust_env=not _is_here(self.url),  # no proxy stands before the loopback
                verify=urlsplit(self.url).scheme == "https",  # to read the authorities takes 40 ms
            )
        return self._opened

    def _parsed(self, answer: "httpx.Response") -> Json:
        try:
            return exact.loads(answer.content)
        except ValueError as error:
            raise _no_ringback(self.url, f" ({error})") from None

    def _refusal(self, answer: "httpx.Response") -> CommandError:
        """A refusal in the service's own words."""
        try:
            problem = exact.loads(answer.content)
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "detail" not in problem:
            return _no_ringback(self.url, f" (it answered {answer.status_code})")
        faults = [f"\n  {each['pointer'] or '/'}: {each['detail']}" for each in _errors(problem)]
        message = f"{problem['detail']}{''.join(faults)}"
        advice = _advice(answer.status_code, problem, has_key=self._key is not None)
        return CommandError(message, advice, of_status(answer.status_code))


def connect(
    url: Annotated[
        str, typer.Option("--url", envvar="RINGBACK_URL", help="Where the service is.")
    ] = URL,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            envvar="RINGBACK_API_KEY",
            show_default=False,
            help="API key. For a service on this machine: the admin key in its data folder.",
        ),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Act for this tenant; needs an admin key.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--request-timeout", min=0.1, help="Seconds for each request.")
    ] = 30.0,
) -> Api:
    """The service that options name."""
    own = key or (admin_key(os.environ) if _is_here(url) else None)
    return Api(url, own, tenant, timeout)


#: The service, as a parameter of a command.
Connected = Annotated[Api, Needs(connect, last=True)]


def admin_key(environ: Mapping[str, str]) -> str | None:
    """The admin key that a service started in this folder, with these settings, has."""
    given = environ.get("RINGBACK_ADMIN_KEY", "").strip()
    if given:
        return given
    database = environ.get("RINGBACK_DATABASE_URL", "").strip() or _DATABASE
    is_file = database.startswith(_SQLITE)
    folder = Path(database.removeprefix(_SQLITE)).parent if is_file else Path("data")
    try:
        return (folder / _KEY_FILE).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def named(path: str, name: str) -> str:
    """A path with an id in it; what is none could lead to quite another address."""
    if not _ID.fullmatch(name):
        raise CommandError(
            f"{name!r} is no id: those are 1 to 64 letters, digits, '_' or '-'.",
            "Copy it whole, as a list shows it.",
            Exit.NOT_FOUND,
        )
    return path.format(name)


def _header(option: str, text: str | None) -> str | None:
    """What goes into a header, without the line end that a file has put behind it."""
    text = None if text is None else text.strip()
    if text and not (text.isascii() and text.isprintable()):
        raise CommandError(
            f"What {option} gives has characters that no key and no tenant has.",
            "Copy it once more, alone and whole.",
            Exit.MISUSE,
        )
    return text


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not url.isprintable():
        raise CommandError(
            f"{url!r} is no address of a service.",
            f"Give --url or RINGBACK_URL as {URL}.",
            Exit.MISUSE,
        )
    return url.rstrip("/")


def _is_here(url: str) -> bool:
    """Whether it is this machine: a key that lies here goes nowhere else."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _given(query: Query | None) -> dict[str, str]:
    """The parameters that have a value, as texts."""
    texts = {name: value for name, value in (query or {}).items() if value is not None}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in texts.items()
    }


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Tell in words why there is no answer."""
    import httpx

    try:
        yield
    except httpx.TimeoutException:
        raise CommandError(
            f"{url} did not answer in time.",
            "Ask `ringback health`, or give it longer with --request-timeout.",
            Exit.UNAVAILABLE,
        ) from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        told = str(error) or type(error).__name__
        advice = _NO_TLS if told.startswith(_TLS) else _NOT_THERE
        raise CommandError(f"No answer from {url}: {told}.", advice, Exit.UNAVAILABLE) from None


def _no_ringback(url: str, more: str = "") -> CommandError:
    return CommandError(
        f"What answers at {url} is not Ringback{more}.",
        "Check --url and RINGBACK_URL, and what stands between here and the service.",
        Exit.UNAVAILABLE,
    )


def _errors(problem: Mapping[str, Json]) -> list[dict[str, str]]:
    return [each for each in problem.get("errors", []) if {"pointer", "detail"} <= each.keys()]


def _advice(status: int, problem: Mapping[str, Json], *, has_key: bool) -> str:
    if "missingScope" in problem:
        return (
            f"Use a key with the scope {problem['missingScope']}; `ringback key create` makes one."
        )
    code = of_status(status)
    if code is Exit.DENIED and not has_key:
        return "Give a key with --key or RINGBACK_API_KEY, or run it in the folder of the service."
    if status in (_TOO_MANY_REQUESTS, _UNAVAILABLE):
        return "Nothing was done. Run it again in a while; `ringback health` says how it is."
    return {
        Exit.DENIED: "Check --key and RINGBACK_API_KEY; `ringback key list` shows which there are.",
        Exit.NOT_FOUND: "Check the id, and that the key is of the right tenant (--tenant).",
        Exit.CONFLICT: "Look at how it is now (`get` shows it), then decide.",
        Exit.UNAVAILABLE: "Run it again; if it fails again, look at what the service says.",
    }.get(code, "Mend what is named and run it again; --help has an example.")


def _messages(lines: Iterator[str]) -> Iterator[tuple[str, Json]]:
    """Whole messages only: one that was cut off in the middle is none."""
    place, data = "", []
    for line in lines:
        if line.startswith("id: "):
            place = line.removeprefix("id: ")
        elif line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and data:
            yield place, exact.loads("\n".join(data))
            data = []
