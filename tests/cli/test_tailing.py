"""`ringback delivery tail` while the service is away for a while."""

from collections.abc import Callable
from typing import Any

import pytest

from service.cli import following
from service.cli.client import Api
from service.cli.commands import deliveries
from service.cli.exits import CommandError, Exit
from tests.support.terminal import Ended, Terminal

Tail = Callable[..., Ended]
CREATED = "2025-01-31T12:00:00.000Z"
MOVED = {"id": "dlv_1", "status": "delivered", "attemptCount": "1", "createdAt": CREATED}


def page(*items: dict[str, str]) -> dict[str, Any]:
    return {"data": list(items), "pagination": {"nextCursor": None}}


def away(code: Exit = Exit.UNAVAILABLE) -> CommandError:
    return CommandError("It is away.", "Start it.", code)


@pytest.fixture
def tail(monkeypatch: pytest.MonkeyPatch) -> Tail:
    """Tails until one delivery has moved, with these answers of the service one after the other."""
    monkeypatch.setattr(following, "_PAUSE", 0.0)
    monkeypatch.setattr(deliveries, "_LOOK_EVERY", 0.0)

    def run(*answers: dict[str, Any] | CommandError) -> Ended:
        coming = iter(answers)

        def get(_api: Api, _path: str, _query: object = None) -> dict[str, Any]:
            answer = next(coming)
            if isinstance(answer, CommandError):
                raise answer
            return answer

        monkeypatch.setattr(Api, "get", get)
        return Terminal({"RINGBACK_URL": "http://127.0.0.1:1"})("delivery", "tail", "--count", "1")

    return run


def test_a_service_that_was_there_is_awaited(tail: Tail) -> None:
    done = tail(page(), away(), away(), page(MOVED))

    assert done.code == 0
    assert done.out.startswith("dlv_1\tdelivered")


@pytest.mark.parametrize(
    "answers",
    [(away(),), (page(), away(Exit.DENIED)), (page(), *[away()] * 9)],
    ids=["never there", "not allowed any more", "away for good"],
)
def test_what_is_no_use_to_wait_for_is_told(
    answers: tuple[dict[str, Any] | CommandError, ...], tail: Tail
) -> None:
    done = tail(*answers)

    assert done.code in (Exit.UNAVAILABLE, Exit.DENIED)
    assert "Start it." in done.err
