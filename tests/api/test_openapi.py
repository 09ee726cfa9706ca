"""The OpenAPI document: valid, complete, and true where that can be asked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from service.api import create_app, description
from service.api.openapi.document import document
from service.api.openapi.tables import TABLE
from service.domain.signature import key_bytes, verify_body, verify_standard
from service.runtime import hosting
from service.web.problems import TABLE as KINDS
from tests.support.api import BASE, Api, opened_api

pytestmark = pytest.mark.anyio

DOCUMENT: Final[dict[str, Any]] = json.loads(description(BASE))
SCHEMAS: Final = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of everything, the webhook included."""
    for path, item in (*DOCUMENT["paths"].items(), *DOCUMENT["webhooks"].items()):
        for method, operation in item.items():
            yield method.upper(), path, operation


def below(tree: object) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from below(each)


def examples() -> Iterator[tuple[str, dict[str, Any], object]]:
    """Where each example stands, its schema and itself."""
    for method, path, operation in operations():
        bodies = [("body", operation.get("requestBody", {})), *operation["responses"].items()]
        for what, body in bodies:
            for media_type, content in body.get("content", {}).items():
                where = f"{method} {path} {what} {media_type}"
                named = {name: each["value"] for name, each in content.get("examples", {}).items()}
                if "example" in content:
                    named[""] = content["example"]
                for name, example in named.items():
                    yield f"{where} {name}".strip(), content["schema"], example


EXAMPLES: Final = {where: (schema, example) for where, schema, example in examples()}


# --- the document


def test_it_is_a_valid_document() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_what_it_refers_to_is_there_and_used() -> None:
    used = {each["$ref"] for each in below(DOCUMENT) if isinstance(each.get("$ref"), str)}
    named = {f"#/components/schemas/{name}" for name in SCHEMAS}

    assert used <= named
    assert {name for name in named - used if not name.endswith("Problem")} == set()


async def test_it_describes_what_the_application_answers(api: Api) -> None:
    async def ready() -> None:
        return None

    routes = create_app(hosting.services(api.opened, ready, lambda: 0)).routes
    answered = {
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in vars(route.endpoint)["_actions"]
        if method != "HEAD"
    }

    told = {(m.upper(), path) for path, item in DOCUMENT["paths"].items() for m in item}
    assert told == answered


def test_what_is_described_and_not_answered_is_a_fault() -> None:
    with pytest.raises(LookupError, match="/livez"):
        document([], TABLE, BASE)


def test_operation_ids_are_unique_and_everything_has_a_summary() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(names)) == len(names)
    assert all(operation["summary"] for _, _, operation in operations())


def test_every_kind_of_problem_is_described() -> None:
    told = {
        schema["properties"]["type"]["const"]: schema["properties"]["status"]["const"]
        for name, schema in SCHEMAS.items()
        if name.endswith("Problem") and name != "Problem"
    }

    assert told == {f"{BASE}/problems/{kind}": row.status for kind, row in KINDS.items()}


def test_statuses_fit_what_is_asked() -> None:
    for method, path, operation in operations():
        if path not in DOCUMENT["paths"]:
            continue
        statuses = set(operation["responses"])
        where = f"{method} {path}"
        assert any(status < "400" for status in statuses), where
        assert "500" in statuses, where
        assert ({"401", "403", "503"} <= statuses) == bool(operation["security"]), where
        assert not operation.get("requestBody") or {"400", "413", "415", "422"} <= statuses, where
        assert "{" not in path or "404" in statuses, where


@pytest.mark.parametrize("where", EXAMPLES)
def test_examples_are_what_they_are_examples_of(where: str) -> None:
    schema, example = EXAMPLES[where]
    checker = Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )

    assert [error.message for error in checker.iter_errors(example)] == []


def test_every_json_body_has_an_example() -> None:
    silent = [
        f"{method} {path}"
        for method, path, operation in operations()
        for body in (operation.get("requestBody", {}), *operation["responses"].values())
        for media_type, content in body.get("content", {}).items()
        if media_type == "application/json" and not {"example", "examples"} & content.keys()
    ]

    assert silent == ["GET /openapi.json"]


def query_parameters() -> dict[str, set[str]]:
    """The names of the query parameters of everything that is read, by path."""
    return {
        path: {each["name"] for each in item["get"]["parameters"] if each["in"] == "query"}
        for path, item in DOCUMENT["paths"].items()
        if "get" in item
    }


async def test_query_parameters_are_those_that_are_read(api: Api) -> None:
    for path, told in query_parameters().items():
        answer = await api.call("GET", path.replace("{id}", "x") + "?nobody-reads-this=1")
        read = ""
        if answer.status_code == 422:
            read = answer.json()["errors"][0]["detail"].partition("known are: ")[2].rstrip(".")
        assert told == set(read.split(", ")) - {"", "none"}, path


def test_the_example_of_a_webhook_is_signed() -> None:
    hook = DOCUMENT["webhooks"]["event"]["post"]
    headers = {each["name"]: each["example"] for each in hook["parameters"]}
    full = hook["requestBody"]["content"]["application/json"]["examples"]["full"]["value"]
    body = json.dumps(full, separators=(",", ":")).encode()
    (secret,) = re.findall(r"whsec_[A-Za-z0-9+/=]+", hook["description"])
    now = int(headers["webhook-timestamp"])

    assert verify_standard([key_bytes(secret)], headers, body, now) is None
    assert verify_body(key_bytes(secret), headers["x-webhook-signature"], body) is None
    assert headers["webhook-id"] == full["id"]


# --- as it is served


async def test_anybody_may_read_it_and_keep_it(api: Api) -> None:
    first = await api.client.get("/openapi.json")
    again = await api.client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})

    assert first.status_code == 200
    assert first.headers["content-type"] == "application/json"
    assert first.json() == DOCUMENT
    assert (again.status_code, again.content) == (304, b"")


async def test_addresses_in_it_are_under_the_public_url(database_path: Path) -> None:
    async with opened_api(database_path, RINGBACK_PUBLIC_URL="https://other.test/hooks") as api:
        text = (await api.client.get("/openapi.json")).text

    assert json.loads(text)["servers"] == [{"url": "https://other.test/hooks"}]
    assert "https://other.test/hooks/problems/conflict" in text
    assert "https://ringback.example" not in text
