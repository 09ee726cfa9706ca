"""Producers that go on posting whatever happens to the service.

Every event has an id of its own, and the ledger knows what became of it: accepted with a 2xx, or
indeterminate because the connection died before an answer. Most of the latter are posted again
under the same id, as a careful producer would, and some are left alone. A 503 is obeyed.
"""

import asyncio
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from service.lab.torture.ledger import Ledger, Posted
from service.lab.torture.talking import Answer, NoAnswerError, Talk

STEPS: Final = ("step", "payment.authorised", "payment.fraud_check.started", "STATUS_UPDATE")
ENDS: Final = ("COMPLETED", "FAILED")
#: What must come through to the digit.
DATA: Final = (
    '{"price" : 1.10, "huge": 1e400, "exact":12345678901234567890.1234567, "name":"Grüße 緑"}'
)
#: Seconds between two requests of one producer, at most.
_PAUSE: Final = 0.01
#: Of requests without an answer so many are sent again, until there is one.
_REPEATING: Final = 0.9
_AGAIN: Final = 0.05
#: Seconds that a producer waits at most when it is asked to.
_OBEDIENCE: Final = 2.0
_TAKEN: Final = (HTTPStatus.ACCEPTED, HTTPStatus.MULTI_STATUS)
#: Nobody posts more than so many times what is to be accepted: a service may be that bad.
_TRIES: Final = 2


@dataclass(slots=True)
class Allowance:
    """How many events may be posted by now: the nemesis lets load last as long as its plan."""

    most: int
    is_over: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def raise_to(self, most: int) -> None:
        """Let more be posted."""
        self.most = max(self.most, most)
        self._news.set()

    def lift(self) -> None:
        """Let everything be posted that is to be."""
        self.raise_to(sys.maxsize)

    def end(self) -> None:
        """Let nothing more be posted."""
        self.is_over = True
        self._news.set()

    async def wait(self, posted: int) -> None:
        """Wait until one more may be posted."""
        while posted >= self.most and not self.is_over:
            self._news.clear()
            await self._news.wait()


class Producer:
    """Posts operation after operation over a connection of its own."""

    def __init__(
        self, number: int, seed: int, talk: Talk, ledger: Ledger, allowance: Allowance
    ) -> None:
        self._number = number
        self._dice = random.Random(f"{seed}/{number}")  # noqa: S311  to be repeated, not to be safe
        self._talk = talk
        self._ledger = ledger
        self._allowance = allowance
        self._count = 0
        self._events = 0

    async def run(self, events: int) -> None:
        """Post until so many ``events`` are accepted, or far more were posted in vain."""
        ledger, most = self._ledger, events * _TRIES
        while ledger.taken < events and len(ledger.posted) < most and not self._allowance.is_over:
            for content, kind in self._requests():
                await self._post(content, kind)
                await asyncio.sleep(self._dice.uniform(0, _PAUSE))
            await self._allowance.wait(len(self._ledger.posted))

    def _requests(self) -> Iterator[tuple[str, str]]:
        """One operation by single events, or a few in one body."""
        form = self._dice.choice(("single", "single", "array", "lines"))
        if form == "single":
            for each in self._operation():
                yield each, "application/json"
            return
        events = [e for _ in range(self._dice.randint(1, 5)) for e in self._operation()]
        if form == "array":
            yield f"[{','.join(events)}]", "application/json"
        else:
            yield "\n".join(events), "application/x-ndjson"

    def _operation(self) -> list[str]:
        """The events of one new operation."""
        self._count += 1
        name = f"op-{self._number}-{self._count}"
        steps = self._dice.choices(STEPS, k=self._dice.randint(0, 6))
        started = ["STARTED"] if self._dice.random() < 0.8 else []  # noqa: PLR2004  most are
        return [self._event(name, t) for t in (*started, *steps, self._dice.choice(ENDS))]

    def _event(self, operation: str, kind: str) -> str:
        self._events += 1
        name = f"e-{self._number}-{self._events}"
        self._ledger.posted[name] = Posted(operation, kind)
        return f'{{"id":"{name}","operationId":"{operation}","type":"{kind}","data": {DATA}}}'

    async def _post(self, content: str, kind: str) -> None:
        """Post until there is an answer that counts, or, where nobody cares, none."""
        cares = self._dice.random() < _REPEATING
        while True:
            request = self._ledger.asked(content)
            try:
                answer = await self._talk.ask("POST", "/v1/events", content.encode(), kind)
            except NoAnswerError as error:
                self._ledger.told(request, "indeterminate", str(error))
                if not cares:
                    return
                await asyncio.sleep(_AGAIN)
                continue
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                self._answered(request, answer)
                return
            await asyncio.sleep(self._refused(request, answer))

    def _answered(self, request: int, answer: Answer) -> None:
        said = answer.body.decode()
        if answer.status in _TAKEN:
            self._ledger.told(request, "accepted", said)
            self._ledger.take(answer.json()["data"])
        else:
            self._ledger.told(request, "wrong", said)
            self._ledger.wrong.append(f"{answer.status} {said}")

    def _refused(self, request: int, answer: Answer) -> float:
        """For how long to leave the service alone."""
        self._ledger.told(request, "refused", answer.body.decode())
        after = answer.headers.get("retry-after")
        if after is None or not after.isdigit():
            self._ledger.wrong.append(f"503 with Retry-After {after}")
            return _AGAIN
        return min(float(after), _OBEDIENCE)
