"""What producers posted, and what they were told of it: one line a request, one line an answer."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO


@dataclass(slots=True)
class Posted:
    """One event."""

    operation: str
    type: str
    #: The event's place in its operation, once it is accepted.
    sequence: int | None = None


@dataclass(slots=True)
class Ledger:
    """The log of all producers, and what it comes to."""

    posted: dict[str, Posted] = field(default_factory=dict)
    #: Answers that should not have been.
    wrong: list[str] = field(default_factory=list)
    #: Answers by what they meant: ``accepted``, ``refused`` (503), ``indeterminate``.
    answers: dict[str, int] = field(default_factory=dict)
    #: How many events got a 2xx.
    taken: int = 0
    _log: TextIO | None = None
    _requests: int = 0

    @classmethod
    def at(cls, file: Path) -> Self:
        """A ledger that is kept in a file as well."""
        return cls(_log=file.open("a", buffering=1))

    def close(self) -> None:
        """Write no more."""
        if self._log is not None:
            self._log.close()

    @property
    def accepted(self) -> list[str]:
        """Ids of the events that got a 2xx."""
        return [name for name, each in self.posted.items() if each.sequence is not None]

    def asked(self, body: str) -> int:
        """Note a request before it is sent; its number."""
        self._requests += 1
        self._write({"request": self._requests, "body": body})
        return self._requests

    def told(self, request: int, meaning: str, said: str = "") -> None:
        """Note what came of a request."""
        self.answers[meaning] = self.answers.get(meaning, 0) + 1
        self._write({"request": request, "answer": meaning, "said": said})

    def take(self, verdicts: list[Any]) -> None:
        """Note the verdicts of one 2xx."""
        for verdict in verdicts:
            name, sequence = verdict.get("id"), verdict.get("sequence")
            known = self.posted.get(name)
            if known is None or sequence is None:
                self.wrong.append(json.dumps(verdict))
            elif known.sequence not in (None, sequence):
                self.wrong.append(f"{name} was {known.sequence}, is {sequence}")
            else:
                self.taken += known.sequence is None
                known.sequence = sequence

    def _write(self, line: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.write(json.dumps({"at": round(time.time(), 3), **line}) + "\n")
