"""Rules and board: every number that they ask for is one that the service tells."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import telling
from tests.support.deployment import DEPLOY, KUBERNETES, document
from tests.support.telling import Told

RULES = document(DEPLOY / "prometheus" / "rules.yml")
TESTS = document(DEPLOY / "prometheus" / "rules_test.yml")
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "ringback.json").read_text())
SCALED = document(KUBERNETES / "components" / "keda" / "scaledobject.yaml")
#: What Prometheus itself adds.
ADDED = {"job", "instance"}
OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The labels of each series of a process that does everything, by its name."""
    return asyncio.run(telling.told(tmp_path_factory.mktemp("told") / "ringback.db"))


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = BOARD["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield f"rule {rule['alert']}", rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']} {target['refId']}", target["expr"]
    for number, trigger in enumerate(SCALED["spec"]["triggers"]):
        yield f"trigger {number}", trigger["metadata"]["query"]
    yield "annotation", BOARD["annotations"]["list"][0]["expr"]


def without_strings(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)


def series(expression: str) -> list[tuple[str, set[str]]]:
    """Every selector of an expression: the series and the labels it asks for."""
    found = re.findall(r"([a-zA-Z_:]\w*)\{([^}]*)\}", without_strings(expression))
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))) for name, labels in found]


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(
    ("where", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS]
)
def test_every_number_that_is_asked_for_is_told(where: str, expression: str, told: Told) -> None:
    asked = series(expression)
    known = {**{name: labels | ADDED for name, labels in told.items()}, **OF_PROMETHEUS}

    assert asked, where
    for name, labels in asked:
        assert name in known, f"{where}: no process tells {name}"
        assert labels <= known[name], f"{where}: {name} has no {labels - known[name]}"
    # none hides outside of a selector, where its job would be any
    bare = re.sub(r"[a-zA-Z_:]\w*\{[^}]*\}", "", without_strings(expression))
    assert not re.search(r"\b(ringback|process)_", bare)
    for grouped in re.findall(r"by \(([^)]*)\)", bare):
        labels = {label.strip() for label in grouped.split(",")}
        assert labels <= set.union(*(known[name] for name, _ in asked)), where


def test_a_number_that_is_not_there_would_be_seen() -> None:
    assert series('rate(ringback_x_total{job="a", b=~"{c}"}[5m]) / up{}') == [
        ("ringback_x_total", {"job", "b"}),
        ("up", set()),
    ]


def test_prose_names_what_there_is(told: Told) -> None:
    for rule in alerts():
        prose = " ".join(rule["annotations"].values())
        named = set(re.findall(r"ringback_[a-z_]+", prose))
        families = told.keys() | {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}
        assert named <= families, rule["alert"]


def test_the_tests_of_the_rules_feed_series_that_there_are(told: Told) -> None:
    for test in TESTS["tests"]:
        for fed in test["input_series"]:
            ((name, labels),) = series(fed["series"])
            known = {**told, **OF_PROMETHEUS}[name] | ADDED
            assert labels <= known, fed


def test_every_alert_is_tested_to_fire_and_to_be_quiet() -> None:
    names = {rule["alert"] for rule in alerts()}
    quiet = {
        case["alertname"] for test in TESTS["tests"] for case in test.get("alert_rule_test", [])
    }
    fires = {
        name
        for test in TESTS["tests"]
        for case in test.get("promql_expr_test", [])
        if case["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', case["expr"])
    }

    assert len(names) == len(alerts())
    assert quiet == names
    assert fires == names


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 40


def test_the_board_is_whole() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        # whichever Prometheus it is given, and not the author's
        assert panel["datasource"]["uid"] == "${datasource}"


def test_units_leave_what_processes_are_measured_by() -> None:
    """Without /proc/stat the client tells no ``process_*``, of which the board draws three."""
    asked = {name for _, expression in EXPRESSIONS for name, _ in series(expression)}
    units = [path.read_text() for path in (DEPLOY / "systemd").rglob("*") if path.is_file()]

    assert any(name.startswith("process_") for name in asked)
    assert not [text for text in units if re.search(r"^ProcSubset=pid$", text, re.MULTILINE)]


def test_the_scrapers_look_where_processes_tell() -> None:
    scrape = document(DEPLOY / "compose" / "prometheus.yml")["scrape_configs"][0]
    (found,) = scrape["dns_sd_configs"]
    services = document(DEPLOY / "compose" / "cluster.yaml")["services"]
    monitor = document(KUBERNETES / "components" / "monitoring" / "podmonitor.yaml")

    assert scrape["job_name"] == "ringback"
    for name in found["names"]:
        assert services[name]["command"][-1] == str(found["port"])
    assert monitor["spec"]["podMetricsEndpoints"][0]["path"] == "/metrics"
