"""What the doctor makes of servers that no test has at hand."""

from dataclasses import replace

import pytest

from service.runtime.findings import Finding, Level
from service.runtime.server_doctor import of_server
from service.settings import ROLES
from service.store.checkup import Server

WELL = Server(
    version=160_004,
    size=3 * 2**30,
    used=20,
    most=97,
    each=9,
    processes=2,
    roles=ROLES,
    is_standby=False,
    user="ringback",
    may_part=True,
)


def findings(**changed: object) -> list[Finding]:
    return list(of_server(replace(WELL, **changed), "postgresql://db/ringback"))  # type: ignore[arg-type]  # members of many types


def test_nothing_is_wrong_with_a_server_that_is_well() -> None:
    found = findings()

    assert {each.level for each in found} == {Level.OK}
    assert [each.check for each in found] == [
        "database",
        "connections",
        "database",
        "processes",
        "disk",
    ]
    assert "takes 3.0 GiB; what is free on its server's disk is not to be seen" in found[-1].found


@pytest.mark.parametrize(
    ("changed", "level", "found", "remedy"),
    [
        ({"version": 120_019}, "fault", "PostgreSQL 12", "Use PostgreSQL 13 or newer."),
        ({"used": 89}, "warning", "89 of 97 connections are in use", "Raise max_connections"),
        ({"used": 97}, "fault", "97 of 97 connections", "or put PgBouncer before it"),
        ({"processes": 11}, "warning", "11 processes open up to 9 each", "Raise max_connections"),
        ({"is_standby": True}, "fault", "is a standby", "Name its primary"),
        ({"denied": ("nodes",)}, "fault", "ringback may not work with nodes", "GRANT SELECT"),
        ({"denied": ("a", "b", "c")}, "fault", "with a and 2 other tables and", "GRANT SELECT"),
        ({"may_part": False}, "warning", "ringback may not make or drop the parts", "OWNER TO"),
        ({"overdue": "events_20260101"}, "warning", "events_20260101 is still there", "owns it"),
        ({"overdue": "attempts_20260101"}, "warning", "attempts_20260101", "dead letters"),
        (
            {"refusing": "without_events_20260101"},
            "fault",
            "without_events_20260101 refuses what is of today",
            "Start a sweeper (`ringback serve --roles sweeper`)",
        ),
        (
            {"roles": frozenset({"api", "worker"})},
            "fault",
            "no process with the role sweeper",
            "Start `ringback serve --roles sweeper`.",
        ),
        (
            {"roles": frozenset({"sweeper", "api"})},
            "fault",
            "no process with the role worker works with the database: nothing is delivered",
            "Start `ringback serve --roles worker`.",
        ),
    ],
)
def test_each_fault_is_told_with_its_remedy(
    changed: dict[str, object], level: str, found: str, remedy: str
) -> None:
    (told,) = [each for each in findings(**changed) if each.level is not Level.OK]

    assert told.level == level
    assert found in told.found
    assert remedy in told.remedy


@pytest.mark.parametrize("changed", [{"roles": frozenset()}, {"roles": None}, {"may_part": None}])
def test_what_cannot_be_known_is_no_fault(changed: dict[str, object]) -> None:
    assert {each.level for each in findings(**changed)} == {Level.OK}
