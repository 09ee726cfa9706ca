"""One request on its way through a handler."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.types import Receive, Send

from service.domain.errors import Refusal
from service.domain.values import Value
from service.ports import Principal
from service.web.answers import Answer
from service.web.problems import instance_of


class Call(Value, frozen=True):
    """What is asked, and by whom."""

    request: Request
    principal: Principal

    @property
    def tenant(self) -> str:
        """The tenant whose things this request may see."""
        return self.principal.tenant_id

    @property
    def path(self) -> str:
        """The path asked for, as it was written."""
        return instance_of(self.request.scope)

    def name(self, parameter: str = "id") -> str:
        """A part of the path."""
        return str(self.request.path_params[parameter])


class Streamed(Protocol):
    """An answer that is not whole before it begins."""

    async def __call__(self, receive: Receive, send: Send, *, head: bool) -> None:
        """Send it; ``head`` leaves the body out."""


Handler = Callable[[Call], Awaitable[Answer | Refusal | Streamed]]
