"""Exceptions of the network, as an error class and a sentence a person understands."""

import errno
import os
import socket
import ssl
from typing import Final

from service.domain.outcome import ErrorClass
from service.domain.targets import BLOCKED
from service.sender.attempt import Attempt
from service.sender.errors import (
    AnswerTooLongError,
    BadAnswerError,
    ConnectionLostError,
    CrowdedOutError,
    NotConnectedError,
    NotResolvedError,
    TargetRefusedError,
    TooMuchTlsError,
)
from service.sender.identities import reason_of
from service.sender.lookups import LookupTimeoutError

Fault = tuple[ErrorClass, str]

#: What this machine is short of: descriptors, memory, or ports to call from.
_EXHAUSTED: Final = frozenset(
    (
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL),
        socket.EAI_MEMORY,
    )
)

_UNCONFIRMED: Final = (
    "The connection was lost before the receiver had agreed on TLS: it may want a client "
    "certificate, or another one."
)


def explain(error: Exception, attempt: Attempt, timeout: float) -> Fault:
    """What ``error`` means.

    ``connect`` is said while there was no connection yet; once there was one, whatever the
    receiver does short of sending a status line is ``protocol``, or ``timeout`` when time ran out.
    The sentences are for tenants: they name no address but what the tenant wrote.
    """
    if isinstance(error, NotConnectedError):
        return _not_connected(error, attempt)
    if attempt.refused or isinstance(error, TargetRefusedError):
        return ErrorClass.BLOCKED, BLOCKED
    if isinstance(error, TimeoutError):
        if attempt.crowded_out:
            return _crowded_out(attempt)
        return ErrorClass.TIMEOUT, f"No answer within {timeout:g} s: stopped while {attempt.phase}."
    return _tls_fault(error, attempt) or _no_answer(error)


def _not_connected(error: NotConnectedError, attempt: Attempt) -> Fault:
    cause = error.cause
    if attempt.refused or isinstance(cause, TargetRefusedError):
        return ErrorClass.BLOCKED, BLOCKED
    return _ours(cause, attempt) or _theirs(error, attempt)


def _ours(cause: OSError, attempt: Attempt) -> Fault | None:
    """What the receiver has no part in, and must not suffer for."""
    if isinstance(cause, CrowdedOutError):
        return _crowded_out(attempt)
    if cause.errno in _EXHAUSTED:
        return ErrorClass.UNKNOWN, "Ringback itself had no connection to spare."
    return None


def _crowded_out(attempt: Attempt) -> Fault:
    said = f"Ringback itself had no room to look {attempt.host} up: too many other names waited."
    return ErrorClass.UNKNOWN, said


def _theirs(error: NotConnectedError, attempt: Attempt) -> Fault:
    cause = error.cause
    if isinstance(cause, LookupTimeoutError):
        return ErrorClass.DNS, f"The name server gave no answer about {attempt.host} in time."
    if isinstance(error, NotResolvedError):
        reason = cause.strerror or "no address"
        return ErrorClass.DNS, f"The name {attempt.host} could not be resolved: {reason}."
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message or "not valid"
        return ErrorClass.TLS, f"The receiver's certificate was not accepted: {reason}."
    if isinstance(cause, ssl.SSLError) or (attempt.secure and attempt.connected is not None):
        return ErrorClass.TLS, f"TLS could not be agreed on: {_reason(cause)}."
    return ErrorClass.CONNECT, f"No connection to {attempt.host}:{attempt.port}: {_reason(cause)}."


def _tls_fault(error: Exception, attempt: Attempt) -> Fault | None:
    """What went wrong with TLS when the connection seemed to be there, if that is what it was."""
    if isinstance(error, ssl.SSLError):  # not on the wire: here, beforehand
        said = f"The subscription's certificates could not be used: {reason_of(error)}."
        return ErrorClass.TLS, said
    if not isinstance(error, ConnectionLostError):
        return None
    cause = error.cause
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        return ErrorClass.TLS, f"The receiver broke TLS off: {reason_of(cause)}."
    return (ErrorClass.TLS, _UNCONFIRMED) if attempt.unconfirmed else None


def _no_answer(error: Exception) -> Fault:
    if isinstance(error, AnswerTooLongError):
        return ErrorClass.PROTOCOL, str(error)
    if isinstance(error, BadAnswerError):
        return ErrorClass.PROTOCOL, "The answer was not valid HTTP."
    if not isinstance(error, ConnectionLostError):
        return ErrorClass.UNKNOWN, f"Unexpected failure: {type(error).__name__}."
    if error.cause is None:
        return ErrorClass.PROTOCOL, "The receiver closed the connection without an answer."
    return ErrorClass.PROTOCOL, f"The connection was lost: {_reason(error.cause)}."


def _reason(error: Exception) -> str:
    if isinstance(error, TooMuchTlsError):
        return str(error)
    if isinstance(error, ssl.SSLError) and error.reason:
        return reason_of(error)
    # Not the exception's own text: it names addresses, which are not the tenant's to know.
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else "connection lost"
