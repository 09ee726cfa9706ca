"""What is wrong with a member of a body, in words for people: no pattern, no name of Python's."""

import re
from typing import Any, Final

import msgspec
import pytest

from service.api import api_keys, following, operation_bodies, replays, subscription_bodies, tenants
from service.api.reading import Body, parse
from service.domain.errors import Refusal

_MODULES: Final = (
    api_keys,
    following,
    operation_bodies,
    replays,
    subscription_bodies,
    tenants,
)
_BODIES: Final = [
    each
    for module in _MODULES
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Body) and each.__module__ == module.__name__
]
_WRONG: Final[tuple[Any, ...]] = ("a b\n", "", -1, 1e18, 1.5, True, [], ["a b\n"], [1], {"a": 1})
#: How a sentence of ours begins, that goes on from the name of the member.
_BEGIN: Final = re.compile(r"must (be|have) |(is|are|has|cannot) ")
_OF_PROGRAMS: Final = re.compile(r"\[A-Z|pattern|dictionar|instance|valid|string|integer|bool")


@pytest.mark.parametrize("model", _BODIES, ids=lambda model: model.__name__)
def test_what_is_wrong_is_told_in_words(model: type[Body]) -> None:
    told = []
    for name in ["unknown", *(field.alias for field in model.model_fields.values())]:
        for wrong in _WRONG:
            read = parse(msgspec.json.encode({name: wrong}), model)
            told += [fault.detail for fault in read.faults] if isinstance(read, Refusal) else []

    assert told
    assert [each for each in told if not _BEGIN.match(each) or _OF_PROGRAMS.search(each)] == []
