"""Counts calls of our functions: what Python costs is mostly calls, and their number is exact."""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Self

import service

HOME = str(Path(service.__file__).parent)

Calls = Counter[str]


class Counting:
    """Counts calls of our functions while it is entered; a coroutine's resumption is one, too.

    With ``rooms`` those of these packages alone.
    """

    def __init__(self, *rooms: str) -> None:
        self.calls: Calls = Counter()
        self._homes = tuple(f"{HOME}/{room}/" for room in rooms) or (HOME,)

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, happened: str, _: Any) -> None:  # noqa: ANN401  the interpreter's own
        code = frame.f_code
        # comprehensions are calls in some versions of Python, and in others not
        is_ours = code.co_filename.startswith(self._homes) and code.co_name[0] != "<"
        if happened == "call" and is_ours:
            self.calls[f"{Path(code.co_filename).stem}.{code.co_name}"] += 1


def added(few: Counting, many: Counting, count: int) -> tuple[float, list[str]]:
    """Calls that each of ``count`` more adds, and what they are of."""
    more = Counter(many.calls)
    more.subtract(few.calls)
    found = {name: calls / count for name, calls in more.items() if calls}
    return sum(found.values()), [f"{name} {calls:g}" for name, calls in sorted(found.items())]
