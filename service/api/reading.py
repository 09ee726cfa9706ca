"""Bodies of the control plane: JSON objects checked field by field, all faults at once.

The members are told apart with msgspec first, which is strict about JSON (no NaN, no half surrogate
pairs) and can leave a member's bytes as they are; each is then checked by a pydantic model.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Any, Final, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from service.domain.errors import Fault, Refusal, RefusalKind, invalid
from service.web import bodies
from service.web.calls import Call

#: No description of a subscription or a replay needs more.
MAX_CONTROL_BODY: Final = 1024 * 1024

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value = msgspec.json.Decoder()


class Body(BaseModel):
    """A request body: camelCase outside, nothing unknown, nothing converted, no NaN."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,  # what each reading switches off: it takes aliases only
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )


Model = TypeVar("Model", bound=Body)
#: How Pydantic begins what it says: before it the name of the field stands here.
_SHOULD: Final = re.compile("^[A-Z][a-z]+ should ")
#: What it calls by Python's names, by the type of the error.
_KINDS: Final = {
    "bool_type": "must be true or false",
    "dict_type": "must be a JSON object",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be an array",
    "model_type": "must be a JSON object",
    "string_type": "must be a text",
}


async def body_of(
    call: Call, model: type[Model], types: Sequence[str] = bodies.JSON_TYPES
) -> tuple[Model, bytes] | Refusal:
    """The body read into ``model``, and its bytes; no body at all is an empty object."""
    body = await bodies.read(call.request, MAX_CONTROL_BODY)
    if isinstance(body, Refusal):
        return body
    if not body:
        parsed: Model | Refusal = _checked({}, [], model)
    else:
        refused = bodies.media_type(call.request, types)
        parsed = refused if isinstance(refused, Refusal) else parse(body, model)
    return parsed if isinstance(parsed, Refusal) else (parsed, body)


def parse(body: bytes, model: type[Model]) -> Model | Refusal:
    """The body read into ``model``. A field of the type ``msgspec.Raw`` gets its bytes."""
    members = members_of(body)
    if isinstance(members, Refusal):
        return members
    raw = {f.alias for f in model.model_fields.values() if f.annotation == msgspec.Raw | None}
    values: dict[str, Any] = {}
    faults = []
    for name, member in members.items():
        if name in raw:
            # in bytes: a Raw equals no bytes
            values[name] = None if bytes(member) == b"null" else member
            continue
        try:
            values[name] = _value.decode(member)
        except (msgspec.DecodeError, RecursionError, OverflowError):
            faults.append(Fault(pointer(name), "holds a number that is out of range"))
    return _checked(values, faults, model)


def members_of(body: bytes) -> dict[str, msgspec.Raw] | Refusal:
    """The members of a JSON object, each with its own bytes."""
    refusal = utf8_fault(body)
    if refusal is not None:
        return refusal
    try:
        return _members.decode(body)
    except msgspec.ValidationError:
        return invalid(Fault("", "The body must be a JSON object."))
    except msgspec.DecodeError as error:
        return not_json(error)
    except RecursionError:
        return too_deep()


def utf8_fault(body: bytes) -> Refusal | None:
    """A refusal of what is not UTF-8: the parser does not look inside of what it leaves raw."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8 (byte {error.start}). JSON is always UTF-8; encode it so."
        return Refusal(RefusalKind.MALFORMED, detail)
    if body.startswith(BOM_UTF8):
        detail = "The body begins with a byte order mark, which JSON has none of; save it without."
        return Refusal(RefusalKind.MALFORMED, detail)
    return None


def not_json(error: msgspec.DecodeError) -> Refusal:
    """A refusal of what is not JSON, with the place where that shows."""
    said = str(error).removeprefix("JSON is malformed: ")
    if "(byte" not in said:  # the parser's words for both
        said = "it ends too early, or holds half of a surrogate pair"
    return Refusal(RefusalKind.MALFORMED, f"The body is not JSON: {said}.")


def too_deep() -> Refusal:
    """A refusal of what no parser should follow down."""
    return invalid(Fault("", "The JSON is nested too deeply; send it flatter."))


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)


def _checked(values: dict[str, Any], faults: list[Fault], model: type[Model]) -> Model | Refusal:
    try:
        made = model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        known = {fault.pointer for fault in faults}
        for each in error.errors(include_url=False, include_input=False):
            fault = _fault_of(each, model)
            if fault.pointer not in known:
                faults.append(fault)
        return invalid(*faults)
    return invalid(*faults) if faults else made


def _fault_of(error: ErrorDetails, model: type[Body]) -> Fault:
    place = pointer(*error["loc"])
    if error["type"] == "extra_forbidden":
        fields = _model_at(model, error["loc"][:-1]).model_fields
        known = ", ".join(sorted(f.alias or name for name, f in fields.items()))
        return Fault(place, f"is not known here; known are: {known}")
    if error["type"] == "missing":
        return Fault(place, "is required")
    if error["type"] == "value_error":
        return Fault(place, str(error["ctx"]["error"]))
    said = _SHOULD.sub("must ", error["msg"]).replace(" after validation", "")
    return Fault(place, _KINDS.get(error["type"], said))


def _model_at(model: type[Body], place: Sequence[str | int]) -> type[Body]:
    """The model of the object at a place within the body."""
    for part in place:
        field = next(f for f in model.model_fields.values() if f.alias == part)
        kinds = (field.annotation, *get_args(field.annotation))
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Body))
    return model
