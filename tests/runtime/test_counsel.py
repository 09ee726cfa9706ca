"""Settings that are seldom meant."""

import pytest

from service.runtime.counsel import of_settings
from service.settings import Settings, load


def advice(settings: Settings) -> str:
    return " ".join(found for found, _ in of_settings(settings))


def test_the_defaults_need_no_advice() -> None:
    assert list(of_settings(load({}))) == []


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"ALLOW_HTTP": "true"}, "RINGBACK_ALLOW_HTTP"),
        ({"REDIS_URL": "redis://cache/0"}, "one SQLite file serves one process, which needs none"),
        ({"ALLOW_TARGETS": "10.0.0.0/8"}, "10.0.0.0/8"),
        ({"RETENTION": "90000"}, "the last try may come after 326526 s"),
        ({"RETENTION": "3600", "RETRY_SCHEDULE": "0,60"}, "operations are readable for longer"),
        ({"HOST": "0.0.0.0"}, "http://0.0.0.0:8080"),  # noqa: S104  only looked at
        ({"HOST": "10.1.2.3", "PUBLIC_URL": "http://localhost:80"}, "http://localhost:80"),
    ],
)
def test_what_is_seldom_meant_is_told_with_a_remedy(variables: dict[str, str], found: str) -> None:
    settings = load({f"RINGBACK_{name}": text for name, text in variables.items()})

    assert found in advice(settings)
    assert all(remedy.endswith(".") for _, remedy in of_settings(settings))


def test_an_address_that_others_can_use_needs_none() -> None:
    given = {"RINGBACK_HOST": "10.1.2.3", "RINGBACK_PUBLIC_URL": "https://hooks.example.com"}
    assert list(of_settings(load(given))) == []


def test_a_database_of_several_processes_wants_a_redis() -> None:
    settings = load({}).model_copy(update={"database_url": "postgresql://db/ringback"})
    assert "RINGBACK_REDIS_URL" in advice(settings)
