"""Which roles a process may have with which settings."""

from itertools import combinations

import pytest

from service.settings import ROLES, Settings, SettingsError, check_roles, load

SERVER = {"database_url": "postgresql://db/ringback"}
SOME = [frozenset(some) for size in (1, 2) for some in combinations(sorted(ROLES), size)]


def distributed(**redis: str) -> Settings:
    """Settings of several processes."""
    return load(redis).model_copy(update=SERVER)


@pytest.mark.parametrize("settings", [load({}), distributed()])
def test_one_process_may_do_everything(settings: Settings) -> None:
    check_roles(settings, ROLES)


def test_one_file_may_be_served_with_a_redis() -> None:
    check_roles(load({"RINGBACK_REDIS_URL": "redis://cache/0"}), ROLES)


@pytest.mark.parametrize("roles", SOME)
@pytest.mark.parametrize("redis", [{}, {"RINGBACK_REDIS_URL": "redis://cache/0"}])
def test_one_file_is_not_for_several_processes(
    roles: frozenset[str], redis: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match="one SQLite file serves one process"):
        check_roles(load(redis), roles)


@pytest.mark.parametrize("roles", SOME)
def test_several_processes_need_a_redis(roles: frozenset[str]) -> None:
    with pytest.raises(SettingsError, match="RINGBACK_REDIS_URL") as refused:
        check_roles(distributed(), roles)
    assert ",".join(sorted(roles)) in str(refused.value)

    check_roles(distributed(RINGBACK_REDIS_URL="redis://cache/0"), roles)
