"""Addresses: one :class:`Resource` answers all methods of a path, whatever happens within."""

import logging
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive
from starlette.types import Scope as HttpScope

from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind, conflict
from service.ports import Principal, SealError, StoreUnavailableError, UnknownCommitError
from service.web import problems, resources
from service.web.answers import Answer
from service.web.authentication import Doorkeeper
from service.web.calls import Call, Handler, Streamed
from service.web.problems import Problems, instance_of

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_HEAD: Final = "HEAD"
_GET: Final = "GET"


@dataclass(frozen=True, slots=True)
class Action:
    """What a method does at a path, and the scope a key needs for it; ``None``: no key at all."""

    method: str
    path: str
    scope: Scope | None
    handler: Handler
    #: Whether a stream ticket does instead of a key.
    by_ticket: bool = False
    #: Whether it sees by itself that the key is in force, unless it refuses.
    is_confirmed: bool = False


def routes(actions: Iterable[Action], doorkeeper: Doorkeeper, told: Problems) -> list[Route]:
    """One route a path; paths are tried in the order in which they first appear."""
    found = resources.by_path(actions)
    return [Route(path, Resource(by, doorkeeper, told)) for path, by in found.items()]


class Resource(resources.Resource[Action]):
    """An ASGI application that answers the methods of one path."""

    def __init__(
        self, actions: Mapping[str, Action], doorkeeper: Doorkeeper, told: Problems
    ) -> None:
        super().__init__(actions, doorkeeper)
        self._problems = told

    async def answer(self, scope: HttpScope, receive: Receive) -> Answer | Streamed:
        """What the method does, or a problem."""
        action = self._actions.get(scope["method"])
        if action is None:
            return self._wrong_method(scope["method"], instance_of(scope))
        acting = self._act(action, Request(scope, receive))
        return await guarded(acting, self._problems, scope["method"], scope)

    async def _act(self, action: Action, request: Request) -> Answer | Refusal | Streamed:
        if action.scope is None:
            return await action.handler(Call(request, _ANYBODY))
        keeper = self._doorkeeper
        principal = await keeper.admit(
            request, action.scope, by_ticket=action.by_ticket, is_confirmed=action.is_confirmed
        )
        if isinstance(principal, Refusal):
            return principal
        answer = _unreadable(request.scope) or await action.handler(Call(request, principal))
        if not isinstance(answer, Refusal):
            return answer
        return await keeper.confirm(principal) or answer

    def _wrong_method(self, method: str, instance: str) -> Answer:
        allowed = ", ".join(sorted(self._actions))
        detail = f"{method} is not possible here; possible are: {allowed}."
        return self._problems.plain(
            problems.METHOD_NOT_ALLOWED, detail, instance, (("allow", allowed),)
        )


async def guarded(
    acting: Awaitable[T | Refusal], told: Problems, method: str, scope: HttpScope
) -> T | Answer:
    """What came of it; for everything that went wrong the problem document about it."""
    try:
        result = await acting
    except ClientDisconnect:
        raise
    except StoreUnavailableError as error:
        _logger.warning("The store is not available: %s", error)
        is_unknown = isinstance(error, UnknownCommitError)
        return told.answer(_UNKNOWN if is_unknown else _UNAVAILABLE, instance_of(scope))
    except SealError as error:
        _logger.error("A stored secret does not open: %s", error)  # noqa: TRY400 (no fault here)
        what = f"What this needs was stored encrypted and does not open. {error}"
        return told.answer(conflict(what), instance_of(scope))
    except Exception:
        instance = instance_of(scope)
        _logger.exception("%s %s failed", method, instance)
        return told.plain(problems.INTERNAL, _INTERNAL, instance)
    return told.answer(result, instance_of(scope)) if isinstance(result, Refusal) else result


class Unknown:
    """Answers what no route answers, as a problem too."""

    def __init__(self, told: Problems) -> None:
        self._problems = told

    async def __call__(self, request: Request, _: Exception) -> Response:
        """Say that nothing is here; Starlette raises this for unknown addresses only."""
        answer = self._problems.answer(_NOTHING_HERE, instance_of(request.scope))
        return Response(answer.body, answer.status, media_type=answer.media_type)


def _unreadable(scope: HttpScope) -> Refusal | None:
    """A refusal of a path that no name can be in: some databases cannot even be asked for NUL."""
    return _NOTHING_HERE if "\0" in scope["path"] else None


#: What Starlette raises where no route matches.
NO_ROUTE: Final = HTTPException

_ANYBODY: Final = Principal("", "", frozenset())
_UNAVAILABLE: Final = Refusal(
    RefusalKind.UNAVAILABLE,
    "The store could not keep or read this just now. Nothing was kept: send it again.",
    retry_after=1,
)
_UNKNOWN: Final = Refusal(
    RefusalKind.UNAVAILABLE,
    "The store did not say whether it kept this: it, or a part of it, may have been kept. Read "
    "what is there, or send it again with the same Idempotency-Key, or with the same ids.",
    retry_after=1,
)
_INTERNAL: Final = (
    "The request could not be completed because of a fault in the service, which has been logged. "
    "Repeat it with the same Idempotency-Key; if it fails again, tell the operator the time."
)
_NOTHING_HERE: Final = Refusal(
    RefusalKind.NOT_FOUND,
    "There is no such address in this API. Check the path against the README.",
)
