"""Lists whose pages may be short, even empty, before the last: commands follow them to the end."""

from collections.abc import Mapping
from typing import Any

import pytest

from service.cli import exact, exporting
from service.cli.client import Api, Query
from service.cli.exporting import Plan

#: Pages by the cursor they are asked for with.
PAGES: Mapping[object, Any] = {
    None: {"data": [], "pagination": {"nextCursor": "a"}},
    "a": {"data": [{"id": 1}], "pagination": {"nextCursor": "b"}},
    "b": {"data": [], "pagination": {"nextCursor": "c"}},
    "c": {"data": [{"id": 2}, {"id": 3}], "pagination": {"nextCursor": None}},
}


class Short(Api):
    """A service with one list."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", None, None, 1)

    def get(self, path: str, query: Query | None = None) -> Any:  # noqa: ANN401  JSON is what it is
        assert path == "/v1/audit-log"
        return PAGES[(query or {})["cursor"]]


@pytest.fixture
def api() -> Short:
    return Short()


@pytest.mark.parametrize(("limit", "found"), [(None, [1, 2, 3]), (200, [1, 2, 3]), (1, [1])])
def test_a_list_goes_on_over_empty_pages(api: Api, limit: int | None, found: list[int]) -> None:
    assert [each["id"] for each in api.pages("/v1/audit-log", {}, limit)] == found


def test_an_export_goes_on_over_empty_pages(api: Api) -> None:
    lines: list[str] = []
    plan = Plan(("audit-log",), None, None, "2025-01-31T12:00:00.000Z")

    exporting.run(api, lines.append, plan, lambda _kind, _count: None)

    written = [exact.loads(line) for line in lines]
    assert [each["data"]["id"] for each in written if "data" in each] == ["1", "2", "3"]
    assert [each["cursor"] for each in written if "mark" in each] == ["a", "b", "c", None]
