"""Requests that the document allows, and many that it forbids, get the answers it describes.

Schemathesis makes both kinds from the document and sends them to a running service.
"""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import BaseSchema, Case, CheckFunction, Config, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response

from service.api import description
from service.api.openapi.parameters import TENANT_HEADER
from tests.support.server import LOCAL, Server

PUBLIC_URL: Final = "http://ringback.test"
#: Nobody listens there: nothing leaves this machine, and nothing is delivered.
NOWHERE: Final = "http://127.0.0.1:9/hook"
REPEATABLE: Final = settings(max_examples=10, derandomize=True, database=None, deadline=None)

CONFIG: Final = {
    # the key is ours, and always good
    "generation": {"with-security-parameters": False},
    "checks": {
        # a batch gets 207 where some of its events are refused
        "negative_data_rejection": {"expected-statuses": [207, "4xx"]},
        # what is asked for may be gone, as it may be unknown
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "3xx", 401, 403, 404, 409, 410, 426, 429],
        },
    },
}
CHECKED: Final = {
    "allow_header_conformance",
    "content_type_conformance",
    "negative_data_rejection",
    "not_a_server_error",
    "positive_data_acceptance",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
}
#: Where valid requests may have faults: rules between two values, or about what is there, which no
#: schema says. At the URL nobody agrees.
UNSAID: Final = {
    "url",
    *("after", "cursor", "headers", "subscriptionId", "until"),
    *("clientCertificate", "clientKey", "caCertificate"),
    *("expiresAt", "scopes", "tenantId"),
}

LINES: Final = st.lists(
    st.sampled_from(
        (b'{"operationId":"a","type":"page"}', b'{"operationId":"b","type":"STARTED"}')
    ),
    min_size=1,
)
MOMENTS: Final = st.datetimes(min_value=datetime(1970, 1, 2))  # noqa: DTZ001  made of UTC below


def described() -> BaseSchema:
    """The document, and what it takes to make what it describes."""
    load_all_checks()
    schemathesis.openapi.format("uri", st.just(NOWHERE))
    schemathesis.openapi.format("date-time", MOMENTS.map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}Z"))
    schemathesis.openapi.media_type("application/x-ndjson", LINES.map(b"\n".join))
    document = json.loads(description(PUBLIC_URL))
    for item in document["paths"].values():
        for operation in item.values():
            # to act for tenants that are not there gets nobody far
            every = operation["parameters"]
            operation["parameters"] = [each for each in every if each["name"] != TENANT_HEADER]
    return schemathesis.openapi.from_dict(document, config=Config.from_dict(CONFIG))


def is_stream(answers: dict[str, Any]) -> bool:
    return any("text/event-stream" in answer.get("content", {}) for answer in answers.values())


SCHEMA: Final = described()
# Streams do not end by themselves, so no client that waits for the end can judge them: how they
# begin, go on, resume and end is shown where streams are tested.
ASKED: Final = SCHEMA.exclude(lambda it: is_stream(it.operation.definition.raw["responses"]))
#: What is asked of one thing; where nothing but its id can be wrong, only rightly.
OF_ONE_THING: Final = {
    (found.label, mode): found
    for each in ASKED.get_all_operations()
    for mode in GenerationMode
    if isinstance(each, Ok) and "{id}" in (found := each.ok()).path
    if mode.is_positive or found.query or found.body
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = {
        **LOCAL,
        "RINGBACK_PUBLIC_URL": PUBLIC_URL,
        "RINGBACK_RETRY_SCHEDULE": "86400,86400",
    }
    with Server(tmp_path_factory.mktemp("schemathesis"), given) as server:
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> dict[str, str]:
    return {"authorization": f"Bearer {server.admin_key}"}


@pytest.fixture(scope="module")
def known(server: Server, key: dict[str, str]) -> dict[str, str]:
    """Ids of what is there, by the part of the path before them."""
    with httpx.Client(base_url=server.url, headers=key) as client:
        subscription = client.post("/v1/subscriptions", json={"url": NOWHERE}).json()
        doomed = client.post("/v1/subscriptions", json={"url": NOWHERE}).json()
        client.post("/v1/events", json={"operationId": "op", "type": "STARTED", "id": "event"})
        client.delete(f"/v1/subscriptions/{doomed['id']}")
        deliveries = client.get(f"/v1/deliveries?subscriptionId={subscription['id']}").json()
        client.post("/v1/tenants", json={"id": "known", "name": "Known"})
        scoped = {"tenantId": "default", "name": "x", "scopes": ["events:write"]}
        made = client.post("/v1/api-keys", json=scoped).json()
        link = client.post("/v1/portal-links").json()
        while not (letters := client.get("/v1/dead-letters").json()["data"]):
            time.sleep(0.02)  # the sweep buries what has nowhere to go
    return {
        "operations": "op",
        "events": "event",
        "subscriptions": subscription["id"],
        "deliveries": deliveries["data"][0]["id"],
        "dead-letters": letters[0]["id"],
        "api-keys": made["id"],
        "tenants": "known",
        "portal-links": link["id"],
        "problems": "conflict",
        "docs": "index",
    }


@ASKED.parametrize()
@REPEATABLE
def test_answers_are_as_described(case: Case[Any], server: Server, key: dict[str, str]) -> None:
    ask(case, server, key)


@pytest.mark.parametrize(("label", "mode"), OF_ONE_THING)
def test_answers_about_what_is_there_are_as_described(
    label: str, mode: GenerationMode, server: Server, key: dict[str, str], known: dict[str, str]
) -> None:
    operation = OF_ONE_THING[label, mode]
    name = known[operation.path.partition("/{id}")[0].rpartition("/")[2]]
    cases = operation.as_strategy(generation_mode=mode, path_parameters={"id": name})

    @REPEATABLE
    @given(cases)
    def ask_of_it(case: Case[Any]) -> None:
        ask(case, server, key)

    ask_of_it()


def ask(case: Case[Any], server: Server, key: dict[str, str]) -> None:
    """Send a request and hold the answer against the document."""
    hurry(case)
    answer = case.call(base_url=server.url, headers=key)
    checks = CHECKS.get_by_names(sorted(CHECKED - unfit(answer)))
    case.validate_response(answer, checks=cast("list[CheckFunction]", checks), headers=key)


def hurry(case: Case[Any]) -> None:
    """Do not wait for what does not come."""
    wait = case.query.get("wait") if case.query else None
    if str(wait).isdigit() and 0 < int(str(wait)) <= 60:
        case.query["wait"] = 0


def unfit(answer: Response) -> set[str]:
    """The checks that cannot judge this answer."""
    query = parse_qsl(urlsplit(str(answer.request.url)).query, keep_blank_values=True)
    checks = set()
    if any(not text for _, text in query):
        checks.add("negative_data_rejection")  # an empty parameter is as good as none
    if answer.status_code == 422 and is_unsaid(answer.json()):
        checks.add("positive_data_acceptance")
    return checks


def is_unsaid(problem: dict[str, Any]) -> bool:
    """Whether it is about what no schema says."""
    if problem["type"].endswith("/idempotency-key-reused"):
        return True
    return {fault["pointer"].lstrip("/").partition("/")[0] for fault in problem["errors"]} <= UNSAID
