"""Headers by name are what a look at each of them finds, also in a copy with others."""

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from service.web import headers

NAMES = st.sampled_from([b"a", b"b", b"authorization", b"x-forwarded-for"])
GIVEN = st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=6)


def found(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]


@given(GIVEN, NAMES, GIVEN)
def test_they_are_found_by_name(
    given_: list[tuple[bytes, bytes]], name: bytes, others: list[tuple[bytes, bytes]]
) -> None:
    scope: Scope = {"headers": given_}
    for each in (scope, {**scope, "headers": others}, scope):
        assert headers.values(each, name) == found(each, name)
        assert headers.first(each, name) == next(iter(found(each, name)), "")
        assert headers.has_any(each, {name}) == bool(found(each, name))
    copied = {**scope, "headers": others}
    assert headers.values(copied, name) == found(copied, name)
