"""What pages say of how far an operation is."""

import pytest

from tests.support.api import Api
from tests.support.console import Visitor

pytestmark = pytest.mark.anyio

PHASES = [{"name": "reading", "status": "IN_PROGRESS", "percentage": 40}]
PROGRESS = {"current": 40, "total": 100, "phase": "reading", "message": "busy", "phases": PHASES}


async def told(api: Api, *types: str) -> None:
    for each in types:
        more = {"progress": PROGRESS} if each == "STATUS_UPDATE" else {}
        await api.post("/v1/operations/job/events", {"type": each, **more})


async def test_one_under_way_says_what_it_told(api: Api, admin: Visitor) -> None:
    await told(api, "STARTED", "STATUS_UPDATE")
    page = await admin.get("/console/operations/job")
    for words in ("40 %", "40 of 100", "It says busy", "Phases of the operation"):
        assert page.says(words), words
    assert not page.says("as it told last")
    assert ("span", {"class": "state busy"}) in page.tags


@pytest.mark.parametrize("end", ["COMPLETED", "COMPLETED_WITH_ERRORS"])
async def test_one_that_completed_is_not_at_what_it_told_last(
    api: Api, admin: Visitor, end: str
) -> None:
    await told(api, "STARTED", "STATUS_UPDATE", end)
    assert (await admin.get("/console/operations")).says("100 %")
    page = await admin.get("/console/operations/job")
    assert page.says("100 %")
    for words in ("40 of 100", "It says"):
        assert not page.says(words), words
    assert page.says("Phases of the operation, as it told last")


async def test_one_that_failed_says_how_far_it_came(api: Api, admin: Visitor) -> None:
    await told(api, "STARTED", "STATUS_UPDATE", "FAILED")
    page = await admin.get("/console/operations/job")
    for words in ("40 %", "40 of 100", "Phases of the operation, as it told last"):
        assert page.says(words), words


async def test_one_that_told_nothing_says_nothing(api: Api, admin: Visitor) -> None:
    await told(api, "STARTED", "COMPLETED")
    for path in ("/console/operations", "/console/operations/job"):
        assert not (await admin.get(path)).says("%"), path
