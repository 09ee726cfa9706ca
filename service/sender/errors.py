"""What goes wrong between here and a receiver; ``faults`` puts it into words.

::

    OSError
      TargetRefusedError     the policy forbids an address
      TooMuchTlsError        more came than TLS needs; the text says what
      CrowdedOutError        there was no room here to begin with
    NotConnectedError        no connection came about; ``cause`` says why
      NotResolvedError       since the name has no address, or none that is known
    ConnectionLostError      there was one, and it ended before the answer did
    BadAnswerError           what came is not HTTP
    AnswerTooLongError       what comes before the answer's body is more than is read
"""


class TargetRefusedError(OSError):
    """The policy forbids an address."""


class CrowdedOutError(OSError):
    """There was no room here to begin with: it says nothing about the receiver."""


class TooMuchTlsError(OSError):
    """More came than TLS needs; the text says what."""


class NotConnectedError(Exception):
    """No connection came about."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


class NotResolvedError(NotConnectedError):
    """The name of the host led to no address."""


class ConnectionLostError(Exception):
    """The connection ended: ``cause`` is ``None`` where the receiver just closed it."""

    def __init__(self, cause: Exception | None) -> None:
        super().__init__(cause)
        self.cause = cause


class BadAnswerError(Exception):
    """The answer is not HTTP."""


class AnswerTooLongError(Exception):
    """More than is read comes before the body; the text says what."""
