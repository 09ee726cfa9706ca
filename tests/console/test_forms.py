"""Forms that come back: their faults beside their fields, and what two people changed at once."""

import json
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel

from service.api.reading import parse
from service.api.subscription_bodies import NewSubscriptionBody, SubscriptionPatch
from service.console import forms, subscription_forms
from service.console.forms import Filled
from service.console.subscription_forms import READERS, SEALED
from service.domain.errors import Fault, Refusal, invalid
from service.domain.subscription import Signing, Subscription, Verification
from service.usecases.manage_subscriptions import SubscriptionInput

WORDS: Final = st.from_regex(r"[A-Za-z0-9_.*-]{1,12}", fullmatch=True)
LISTS: Final = st.lists(WORDS, min_size=1, max_size=4).map(tuple)
SECONDS: Final = st.floats(0.001, 30, allow_nan=False)
TEXTS: Final = st.dictionaries(
    st.sampled_from(("url", "description", "metadata")), st.text(max_size=5), min_size=3
)
SUBSCRIPTIONS: Final = st.builds(
    Subscription,
    no=st.just(1),
    id=st.just("sub_1"),
    tenant_id=st.just("default"),
    url=st.just("https://a.test/x?y=1"),
    event_types=LISTS,
    operation_types=LISTS | st.just(()),
    operation_id=st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    description=st.none() | st.just("Shop: orders, & <b>more</b>"),
    payload=st.sampled_from(("full", "thin")),
    timeout_seconds=st.none() | SECONDS,
    retry_schedule=st.none() | st.lists(st.floats(0, 2_678_400), min_size=1).map(tuple),
    max_concurrency=st.none() | st.integers(1, 1000),
    rate_limit_per_second=st.none() | st.floats(0.1, 10_000),
    ordering=st.sampled_from(("none", "operation")),
    signing=st.sampled_from(Signing),
    verification=st.sampled_from(Verification),
    metadata=st.none() | st.just(b'{"a": [1, 1e400, "x"]}'),
    created_at=st.just(1),
    updated_at=st.just(1),
)


def read(body: dict[str, object]) -> SubscriptionInput:
    found = parse(msgspec.json.encode(body), SubscriptionPatch)
    assert not isinstance(found, Refusal), found
    return found.given()


def test_the_form_has_every_member_that_can_be_changed() -> None:
    names = {field.alias for field in SubscriptionPatch.model_fields.values()}
    assert {*READERS} == names - {"secret"}
    assert {to_camel(name) for name in NewSubscriptionBody.model_fields} == {*READERS, "secret"}


@given(SUBSCRIPTIONS)
def test_what_a_form_shows_is_read_back_as_it_was(subscription: Subscription) -> None:
    texts = subscription_forms.shown(subscription)
    body = subscription_forms.body_of(texts, [name for name in READERS if name not in SEALED])

    members = read(body).members

    for name, value in members.items():
        if name == "metadata":
            assert json.loads(value or "null") == json.loads(subscription.metadata or "null")
        else:
            assert (value or None) == (getattr(subscription, name) or None), name


def test_what_was_not_typed_is_the_default_and_a_url_has_none() -> None:
    texts = dict.fromkeys(READERS, "")

    body = subscription_forms.body_of(texts, READERS)

    assert body == {**dict.fromkeys(READERS), "url": ""}


def test_what_is_no_number_and_no_json_is_left_to_the_rules() -> None:
    texts = {"timeoutSeconds": "soon", "retrySchedule": "0, x, nan", "metadata": "{'a': 1}"}

    assert subscription_forms.body_of(texts, texts) == {
        "timeoutSeconds": "soon",
        "retrySchedule": [0.0, "x", "nan"],
        "metadata": "{'a': 1}",
    }


def test_headers_stand_one_a_line() -> None:
    texts = {"headers": "x-a:1\n\n x-b : b: c "}
    assert subscription_forms.body_of(texts, texts) == {"headers": {"x-a": "1", "x-b": "b: c"}}
    assert subscription_forms.header_faults(texts) == []
    assert subscription_forms.header_faults({"headers": "x-a: 1\nx-a: 2"}) == [
        Fault("/headers", "'x-a' is given twice")
    ]


@pytest.mark.parametrize("line", ["x-bare", "x-bare:", ":", ": x", "x bare: 1", "é: 1"])
def test_a_header_without_a_name_or_a_value_is_refused_and_never_sent(line: str) -> None:
    texts = {"headers": f"x-a: 1\n{line}"}
    assert subscription_forms.header_faults(texts) == [
        Fault("/headers/1", "is to be written as name: value")
    ]
    assert subscription_forms.body_of(texts, texts) == {"headers": {"x-a": "1"}}


def test_a_fault_is_said_beside_its_field() -> None:
    filled = Filled(
        refusal=invalid(
            Fault("/url", "is required"),
            Fault("/eventTypes/1", "is long"),
            Fault("/headers/x~1y", "is bad"),
            Fault("", "is nothing"),
        )
    )

    assert filled.wrong("url") == ["is required"]
    assert filled.wrong("eventTypes") == ["No. 2: is long"]
    assert filled.wrong("headers") == ["x/y: is bad"]
    assert filled.wrong("description") == []


@given(TEXTS, TEXTS, TEXTS)
def test_nobodys_change_gets_lost_unseen(
    before: dict[str, str], typed: dict[str, str], present: dict[str, str]
) -> None:
    shown, others = forms.merged(typed, forms.marks(before), present)

    for name, was in before.items():
        if typed[name] == was:
            assert shown[name] == present[name]
            assert name not in others
        else:
            assert shown[name] == typed[name]
            both = present[name] not in (was, typed[name])
            assert others.get(name) == (present[name] if both else None)


def test_marks_that_are_none_leave_everything_as_it_was_typed() -> None:
    typed: dict[str, Any] = {"url": "x"}
    for wrong in ("", "no json", "[]", "7"):
        assert forms.changed_in(wrong, typed) == {"url"}
