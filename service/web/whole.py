"""An answer in one message instead of two, which costs half as much to send.

It is an extension of ASGI: our server announces it (:mod:`service.runtime.protocol`), and who calls
an application allows it where nobody between the two minds messages that ASGI does not know.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from starlette.types import Scope

#: The extension's name, and the type of its message: ``status``, ``headers`` and ``body`` are as in
#: ASGI's two messages. Its headers are the service's own words, which nobody looks at again.
WHOLE: Final = "ringback.whole"
#: A scope's ``extensions`` where the server takes whole answers.
ANNOUNCED: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({WHOLE: {}})
_ALLOWED: Final = "ringback.whole.allowed"


def allow(scope: Scope) -> None:
    """Let the application that is called next answer so, if the server takes it."""
    scope[_ALLOWED] = WHOLE in scope.get("extensions", ())


def is_allowed(scope: Scope) -> bool:
    """Whether the application may answer so."""
    return scope.get(_ALLOWED, False) is True
