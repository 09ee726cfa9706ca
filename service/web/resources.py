"""Resources: what every address does, whichever door it belongs to."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.web import answers
from service.web.answers import Answer
from service.web.authentication import Doorkeeper
from service.web.calls import Streamed
from service.web.whole import is_allowed

_HEAD: Final = "HEAD"
_GET: Final = "GET"


class Action(Protocol):
    """What a method does at a path."""

    @property
    def method(self) -> str:
        """In capitals."""

    @property
    def path(self) -> str:
        """As the router takes it."""


A = TypeVar("A", bound=Action)


def by_path(actions: Iterable[A]) -> dict[str, dict[str, A]]:
    """Actions by path and method; paths in the order in which they first appear."""
    found: dict[str, dict[str, A]] = {}
    for action in actions:
        found.setdefault(action.path, {})[action.method] = action
    return found


class Resource(ABC, Generic[A]):
    """An ASGI application that answers the methods of one path; what GET does, HEAD does too."""

    def __init__(self, actions: Mapping[str, A], doorkeeper: Doorkeeper) -> None:
        self._actions = dict(actions)
        if _GET in actions:
            self._actions[_HEAD] = actions[_GET]
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        head = scope["method"] == _HEAD
        told = self._doorkeeper.limits.telling(scope, send)
        try:
            answer = await self.answer(scope, receive)
        except ClientDisconnect:
            return
        if isinstance(answer, Answer):
            whole = told is send and is_allowed(scope)
            await answers.send(answer, told, head=head, whole=whole)
        else:
            await answer(receive, told, head=head)

    @abstractmethod
    async def answer(self, scope: Scope, receive: Receive) -> Answer | Streamed:
        """The answer, whatever happens; only who went away needs none (``ClientDisconnect``)."""
