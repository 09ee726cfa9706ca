"""Producers that go on posting while the service is killed and started again.

Every event has an id of its own, and the ledger knows what became of it: accepted with a 2xx, or
indeterminate because the connection died before an answer. Some of the latter are posted again,
as a careful producer would, and some are left alone.
"""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

STEPS = ("step", "payment.authorised", "payment.fraud_check.started", "STATUS_UPDATE")
ENDS = ("COMPLETED", "FAILED")
#: What must come through to the digit.
DATA = '{"price" : 1.10, "huge": 1e400, "exact":12345678901234567890.1234567, "name":"Grüße 緑"}'
#: Seconds between two requests of one producer, at most.
PAUSE = 0.01
REPEATING = 0.6


@dataclass(slots=True)
class Posted:
    """One event."""

    operation: str
    type: str
    #: The event's place in its operation, once it is accepted.
    sequence: int | None = None


@dataclass(slots=True)
class Ledger:
    """What was posted, and what was answered; each acceptance is a line in a file as well."""

    file: Path
    posted: dict[str, Posted] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> list[str]:
        """Ids of the events that got a 2xx."""
        return [name for name, each in self.posted.items() if each.sequence is not None]

    def take(self, verdicts: list[Any]) -> None:
        """Note the verdicts of one answer."""
        with self.file.open("a") as log:
            for verdict in verdicts:
                name, sequence = verdict.get("id"), verdict.get("sequence")
                if sequence is None:
                    self.refused.append(json.dumps(verdict))
                    continue
                log.write(json.dumps(verdict) + "\n")
                known = self.posted[name]
                if known.sequence not in (None, sequence):
                    self.refused.append(f"{name} was {known.sequence}, is {sequence}")
                known.sequence = sequence


class Producer:
    """Posts operation after operation over a connection of its own."""

    def __init__(
        self, number: int, seed: int, client: httpx.AsyncClient, ledger: Ledger, up: asyncio.Event
    ) -> None:
        self._number = number
        self._dice = random.Random(f"{seed}/{number}")  # noqa: S311  to be repeated, not to be safe
        self._client = client
        self._ledger = ledger
        self._up = up
        self._count = 0
        self._events = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Post until told to stop."""
        while not stop.is_set():
            for content, kind in self._requests():
                await self._post(content, kind)
                await asyncio.sleep(self._dice.uniform(0, PAUSE))

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
        started = ["STARTED"] if self._dice.random() < 0.8 else []
        return [self._event(name, t) for t in (*started, *steps, self._dice.choice(ENDS))]

    def _event(self, operation: str, kind: str) -> str:
        self._events += 1
        name = f"e-{self._number}-{self._events}"
        self._ledger.posted[name] = Posted(operation, kind)
        return f'{{"id":"{name}","operationId":"{operation}","type":"{kind}","data": {DATA}}}'

    async def _post(self, content: str, kind: str) -> None:
        while True:
            await self._up.wait()
            try:
                answer = await self._client.post(
                    "/v1/events", content=content.encode(), headers={"content-type": kind}
                )
            except httpx.TransportError:
                if self._dice.random() < REPEATING:
                    await asyncio.sleep(0.01)
                    continue
                return
            if answer.status_code in (202, 207):
                self._ledger.take(answer.json()["data"])
            else:
                self._ledger.refused.append(f"{answer.status_code} {answer.text}")
            return
