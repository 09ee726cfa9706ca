"""What every backplane does; each kind of them is put through the same."""

from collections.abc import Callable, Sequence

import pytest

from service.ports import Backplane, Moved
from service.pubsub import InProcessBackplane

KINDS: list[Callable[[], Backplane]] = [InProcessBackplane]


@pytest.fixture(params=KINDS)
def backplane(request: pytest.FixtureRequest) -> Backplane:
    made: Backplane = request.param()
    return made


def test_everybody_who_listens_hears_every_note(backplane: Backplane) -> None:
    heard: list[tuple[str, Sequence[Moved]]] = []
    backplane.listen(lambda notes: heard.append(("first", notes)))
    backplane.listen(lambda notes: heard.append(("second", notes)))

    backplane.publish([("default", "op_1"), ("default", "")])

    assert heard == [
        ("first", [("default", "op_1"), ("default", "")]),
        ("second", [("default", "op_1"), ("default", "")]),
    ]


def test_what_was_published_before_is_not_heard(backplane: Backplane) -> None:
    heard: list[Sequence[Moved]] = []
    backplane.publish([("default", "op_1")])
    backplane.listen(heard.append)

    assert heard == []
