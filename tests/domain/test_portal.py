"""Links into the portal, and what may stand in the header that says who embeds it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.api_keys import Scope
from service.domain.portal import (
    CONSUMER_SCOPES,
    DEFAULT_SCOPES,
    LINK_BYTES,
    new_link,
    origin_fault,
)


def test_a_link_is_made_of_its_chance_and_nothing_else() -> None:
    assert new_link(bytes(LINK_BYTES)) == "pl_" + "A" * 43
    with pytest.raises(ValueError, match="32"):
        new_link(b"short")


def test_no_link_allows_what_producers_and_administrators_do() -> None:
    assert {Scope.ADMIN, Scope.EVENTS_WRITE}.isdisjoint(CONSUMER_SCOPES)
    assert set(CONSUMER_SCOPES) > DEFAULT_SCOPES


@pytest.mark.parametrize(
    "origin",
    [
        *("https://a.test", "https://app.a-b.test:8443", "https://10.0.0.1", "https://localhost"),
        *("http://localhost", "http://localhost:3000", "http://127.0.0.1:1"),
    ],
)
def test_an_origin_is_one(origin: str) -> None:
    assert origin_fault(origin) is None


@pytest.mark.parametrize("origin", ["http://[::1]:8080", "http://[::1]", "https://[2001:db8::1]"])
def test_an_ipv6_address_is_none_and_the_fault_says_what_to_do(origin: str) -> None:
    """It was stored, stood in the policy, and browsers passed it over: the frame stayed empty."""
    fault = origin_fault(origin)

    assert fault is not None
    assert "IPv6" in fault
    assert "http://localhost" in fault


@given(st.text(st.sampled_from("htps:/[]a.-0 ;*'\"\n\t\x00,1E%@?#"), max_size=40))
def test_nothing_gets_through_that_could_end_the_words_of_a_policy(text: str) -> None:
    if origin_fault(text) is None:
        assert re.fullmatch(r"https?://[a-z0-9.:-]+", text)


@given(st.from_regex(r"https://[a-z0-9.-]{1,20}(:[0-9]{1,5})?[^a-z0-9.:-].*", fullmatch=True))
def test_what_comes_behind_an_origin_makes_it_none(text: str) -> None:
    assert origin_fault(text) is not None
