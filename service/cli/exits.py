"""What a command ends with: the one table of exit codes, and failures told in words."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """Exit codes. The README lists them; scripts rely on them."""

    OK = 0
    #: It was done, and what came of it is not good: a delivery failed, a signature does not match.
    FAILURE = 1
    #: The arguments or settings are wrong, or the service found faults in what was sent.
    MISUSE = 2
    #: There is no valid key, or it may not do this.
    DENIED = 3
    #: There is no such thing, or no longer.
    NOT_FOUND = 4
    #: The present state does not allow it; the database, or port, that is asked for is another's.
    CONFLICT = 5
    #: The service cannot be reached, is not ready, busy or broken, or it took too long.
    UNAVAILABLE = 6
    #: Of several things some were refused.
    PARTIAL = 7
    #: Ctrl-C, as shells count it.
    INTERRUPTED = 130


#: For the end of a help text.
LEGEND: Final = (
    "\b\nExit codes: 0 done; 1 done, but what came of it is not good; 2 wrong arguments,"
    "\n  settings or input; 3 no key, or it may not; 4 not there; 5 the state forbids it;"
    "\n  6 unreachable, busy or too slow; 7 some of several were refused; 130 Ctrl-C."
)


class CommandError(Exception):
    """A command cannot do what it was asked for.

    Attributes:
        advice: what to do next.
        code: what the command ends with.
    """

    def __init__(self, message: str, advice: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.advice = advice
        self.code = code


_BY_STATUS: Final = {
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    410: Exit.NOT_FOUND,
    429: Exit.UNAVAILABLE,
}
_SERVER_ERRORS: Final = 500


def of_status(status: int) -> Exit:
    """The exit code for a refusal by the service."""
    otherwise = Exit.MISUSE if status < _SERVER_ERRORS else Exit.UNAVAILABLE
    return _BY_STATUS.get(status, otherwise)
