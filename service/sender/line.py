"""All that lives on one event loop: the pool of connections, the resolver, the deadlines."""

import io
import ssl

from aiohttp import ClientRequest, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from multidict import CIMultiDict
from yarl import URL

from service.domain.outcome import MAX_RESPONSE_BYTES
from service.domain.request import OutboundRequest
from service.domain.targets import TargetPolicy
from service.sender.connector import GuardedConnector
from service.sender.deadline import Deadlines
from service.sender.identities import Identities
from service.sender.lookups import Lookup
from service.sender.resolver import GuardedResolver

#: What frames a message or belongs to one connection is the sender's to say, never the request's.
_OURS = ("host", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade")

#: The attempt's own deadline bounds everything, so the library's clocks stay off.
_NO_LIMIT = ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)

#: The library warns about larger byte strings; from a file it sends them piece by piece.
_WHOLE_BODY_BYTES = 1024 * 1024


class _PlainRequest(ClientRequest):
    """Adds no header but Host and Content-Length."""

    DEFAULT_HEADERS = {}  # noqa: RUF012 - the library's name and type for it


class Line:
    """The way out; made on the loop that uses it."""

    def __init__(
        self, policy: TargetPolicy, lookup: Lookup, connections: int, tls: ssl.SSLContext
    ) -> None:
        self.deadlines = Deadlines()
        resolver = GuardedResolver(policy, lookup)
        connector = GuardedConnector(policy, resolver, connections, tls)
        self._identities = Identities(connector.close_retired)
        self._session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=_NO_LIMIT,
            read_bufsize=MAX_RESPONSE_BYTES,
            request_class=_PlainRequest,
        )

    async def send(
        self, request: OutboundRequest, url: URL, defaults: tuple[tuple[str, str], ...]
    ) -> ClientResponse:
        """Send the request as it is, ``defaults`` for headers it lacks; the answer's head."""
        headers = CIMultiDict(request.headers)
        for name in _OURS:
            headers.popall(name, None)
        for name, value in defaults:
            headers.setdefault(name, value)
        body = request.body
        # nothing has no media type, which the library would add to no bytes
        data = (body or None) if len(body) <= _WHOLE_BODY_BYTES else io.BytesIO(body)
        # connections are pooled by their context: no identity meets another's
        tls = True if request.tls is None else await self._identities.context_of(request.tls)
        return await self._session.request(
            request.method, url, data=data, headers=headers, allow_redirects=False, ssl=tls
        )

    async def close(self) -> None:
        """Close every connection."""
        self.deadlines.close()
        await self._session.close()
