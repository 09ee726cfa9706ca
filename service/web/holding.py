"""Answers that wait: ``?wait=30`` or ``Prefer: wait=30`` (RFC 7240), and who hangs up meanwhile."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import Receive

from service.web.answers import Headers

#: Seconds that an answer may wait (contract, section 4.2).
LONGEST: Final = 60

_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,18})"?\s*(;.*)?', re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds an answer may wait, and what it then says of it."""

    seconds: int = 0
    headers: Headers = ()


def wait(value: str) -> int:
    """The query parameter: whole seconds."""
    if _NUMBER.fullmatch(value) is None or int(value) > LONGEST:
        raise ValueError(f"must be a whole number of seconds from 0 to {LONGEST}")
    return int(value)


def patience(request: Request, given: int | None) -> Patience:
    """What the query says (``given``), or else what the client prefers."""
    if given is not None:
        return Patience(given)
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            found = _WAIT.fullmatch(preference)
            if found is not None:
                seconds = min(int(found[1]), LONGEST)
                return Patience(seconds, (("preference-applied", f"wait={seconds}"),))
    return Patience()


@asynccontextmanager
async def noticing(receive: Receive, hung_up: Callable[[], None]) -> AsyncIterator[None]:
    """Call ``hung_up`` if the client goes away meanwhile; what else he says is read over."""
    listening = asyncio.create_task(_until_gone(receive))
    listening.add_done_callback(lambda _: hung_up())
    try:
        yield
    finally:
        listening.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass
