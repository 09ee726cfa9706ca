"""Events as they come in: one object, an array, or lines of JSON; each judged by itself.

The quick way decodes an event in one go. Only what that refuses is looked at again, member by
member, to name every fault it has.
"""

from codecs import BOM_UTF8
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from service.api.reading import not_json, pointer, too_deep, utf8_fault
from service.domain import event as events
from service.domain.errors import Fault, Refusal, invalid
from service.domain.event import EventIn
from service.usecases.manage_operations import reserved_type
from service.web.bodies import too_large

#: Events in one request (contract, section 4.1).
MAX_EVENTS: Final = 1_000
#: Lines of an NDJSON body, blank ones included.
_MAX_LINES: Final = 2 * MAX_EVENTS


class Posted(NamedTuple):
    """One event as it was posted, or why it was refused, and the id it came with."""

    item: EventIn | Refusal
    id: str | None = None


class EventParser:
    """Reads events of at most ``max_bytes`` each."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def one(self, body: bytes, operation_id: str | None) -> EventIn | Refusal:
        """The one event that is the whole body; ``operation_id`` is the path's."""
        return utf8_fault(body) or self._event(body, operation_id).item

    def array(self, body: bytes, operation_id: str | None) -> list[Posted] | Refusal:
        """The events of a JSON array."""
        refusal = utf8_fault(body)
        if refusal is not None:
            return refusal
        try:
            elements = [each for each in msgspec.structs.astuple(_array.decode(body)) if each]
        except RecursionError:
            return too_deep()
        except msgspec.DecodeError as error:
            return not_json(error)
        return self._batch(elements, operation_id)

    def lines(self, body: bytes, operation_id: str | None) -> list[Posted] | Refusal:
        """The events of an NDJSON body; blank lines are none, and neither is a mark of UTF-8."""
        body = body.removeprefix(BOM_UTF8)
        refusal = utf8_fault(body)
        if refusal is not None:
            return refusal
        if body.count(b"\n") > _MAX_LINES:
            return _too_many()
        lines = [line for line in map(bytes.strip, body.split(b"\n")) if line]
        return self._batch(lines, operation_id)

    def _batch(
        self, elements: "list[Raw] | list[bytes]", operation_id: str | None
    ) -> list[Posted] | Refusal:
        if not elements:
            return invalid(Fault("", "The batch is empty; send at least one event."))
        if len(elements) > MAX_EVENTS:
            return _too_many()
        return [self._event(each, operation_id) for each in elements]

    def _event(self, text: "bytes | Raw", operation_id: str | None) -> Posted:
        size = memoryview(text).nbytes
        if size > self._max_bytes:
            return Posted(too_large("The event", size, self._max_bytes))
        try:
            event = _event.decode(text)
            faults = events.check(event)
        except msgspec.ValidationError:
            return _explained(text, operation_id)
        except msgspec.DecodeError as error:
            return Posted(not_json(error))
        except RecursionError:
            return Posted(too_deep())
        faults += _name_faults(event, operation_id)
        if faults:
            return Posted(invalid(*faults), event.id)
        return Posted(event, event.id)


_event = msgspec.json.Decoder(EventIn)
_members = msgspec.json.Decoder(dict[str, Raw])

#: A list would take memory for every element before anybody counts; fields of a structure are
#: so many, and what comes behind them is read over.
_array = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Array",
        [(f"e{number}", Raw, Raw()) for number in range(MAX_EVENTS + 1)],
        array_like=True,
        frozen=True,
    )
)

_FIELDS: Final = {field.encode_name: field for field in msgspec.structs.fields(EventIn)}
_DECODERS: Final = {name: msgspec.json.Decoder(field.type) for name, field in _FIELDS.items()}
_ID: Final = "must be 1 to 64 letters, digits, '_' or '-'"
_WANTED: Final = {
    "type": "must be 1 to 128 letters, digits, '_', '.' or '-'",
    "id": _ID,
    "operationId": _ID,
    "operationType": "must be 1 to 128 letters, digits, '_', '.', ':', '/' or '-'",
    "timestamp": "must be a text: an RFC 3339 time such as 2025-01-31T12:00:00Z",
    "status": "must be PROCESSING, or left out: lifecycle types set the status by themselves",
    "traceparent": "must be a W3C traceparent of version 00: 00-<32 hex>-<16 hex>-<2 hex>",
    "message": "must be a text of at most 8192 characters",
}
_KNOWN: Final = ", ".join(_FIELDS)


def check_operation_id(name: str) -> Refusal | None:
    """Why no operation can have the id in the path."""
    try:
        msgspec.convert(name, events.Id)
    except msgspec.ValidationError:
        return invalid(Fault("/operationId", f"in the path {_ID}"))
    return None


def _explained(text: "bytes | Raw", operation_id: str | None) -> Posted:
    """A refusal with every fault of an event that has some."""
    try:
        members = _members.decode(text)
    except msgspec.ValidationError:
        return Posted(invalid(Fault("", "An event must be a JSON object.")))
    except msgspec.DecodeError as error:  # not JSON either, further on
        return Posted(not_json(error))
    except RecursionError:
        return Posted(too_deep())
    values, faults = _decoded(members)
    if "type" not in members:
        faults.append(Fault("/type", "is required: what happened?"))
    event = EventIn(**{"type": "unknown", **values})
    if "type" not in values:
        event.status = None  # what it may be depends on the type
    faults += events.check(event)
    if "operationId" not in members or "operation_id" in values:
        faults += _name_faults(event, operation_id)
    return Posted(invalid(*faults), event.id)


def _decoded(members: dict[str, Raw]) -> tuple[dict[str, Any], list[Fault]]:
    values: dict[str, Any] = {}
    faults = []
    for name, member in members.items():
        if name not in _FIELDS:
            faults.append(Fault(pointer(name), f"is not known here; known are: {_KNOWN}"))
            continue
        try:
            values[_FIELDS[name].name] = _DECODERS[name].decode(member)
        except (msgspec.DecodeError, RecursionError):
            faults.append(Fault(pointer(name), _WANTED[name]))
    return values, faults


def _name_faults(event: EventIn, operation_id: str | None) -> list[Fault]:
    """Faults of the operation's names; an event posted below an operation gets its id."""
    faults = []
    if operation_id is None:
        if event.operation_id is None:
            faults.append(Fault("/operationId", "is required: which operation is this event of?"))
    elif event.operation_id is None:
        event.operation_id = operation_id
    elif event.operation_id != operation_id:
        faults.append(Fault("/operationId", f"is not the path's, {operation_id!r}; leave it out"))
    reserved = reserved_type(event.operation_type, "/operationType")
    if reserved is not None:
        faults.append(reserved)
    return faults


def _too_many() -> Refusal:
    detail = f"holds more than {MAX_EVENTS} events; send them in several requests."
    return invalid(Fault("", f"The batch {detail}"))
