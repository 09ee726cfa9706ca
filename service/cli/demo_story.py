"""What the demo does and looks for: four steps, each with what must be seen in it."""

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from service.cli.demo_receiver import Arrival, Inbox, Receiver, fault_of
from service.cli.demo_screen import Screen
from service.cli.demo_service import Api, DemoError

T = TypeVar("T")

#: Seconds that anything may take to be seen.
_PATIENCE: Final = 15.0
_LOOK_EVERY: Final = 0.05
#: Seconds between two events, so that an eye can follow.
_PACE: Final = 0.4

_OPERATION: Final = "report-7"
#: Whoever reads it as a float and writes it again, changes it.
_NUMBER: Final = b"48210.50"
_EVENTS: Final = (
    b'{"operationId": "report-7", "operationType": "report.sales", "type": "STARTED"}',
    b'{"operationId": "report-7", "type": "STATUS_UPDATE", "progress": 40}',
    b'{"operationId": "report-7", "type": "COMPLETED", "result": {"revenue": %b}}' % _NUMBER,
)
#: Seconds before each attempt at the receiver that is down.
_SCHEDULE: Final = (0.0, 1.0, 1.5)
#: Jitter never makes an attempt earlier than this part of its wait.
_EARLIEST: Final = 0.8


class Story:
    """Two subscriptions, one operation, and what becomes of its events."""

    def __init__(self, screen: Screen, api: Api, receiver: Receiver) -> None:
        self._screen = screen
        self._api = api
        self._sound = receiver.open("/reports")
        self._down = receiver.open("/billing")
        self._arrivals: list[Arrival] = []

    def tell(self) -> None:
        """All of it, in order."""
        self._deliver()
        failed = self._retry()
        name = self._bury()
        self._replay(name, failed)
        self._sum_up()

    def _deliver(self) -> None:
        self._screen.step(
            1, "Delivered", "An operation starts, moves on and ends. Each event is a signed POST."
        )
        self._subscribe(self._sound)
        self._down.answer = HTTPStatus.SERVICE_UNAVAILABLE
        self._subscribe(self._down, eventTypes=["COMPLETED"], retrySchedule=_SCHEDULE)
        self._screen.columns()
        for event in _EVENTS:
            time.sleep(_PACE)
            posted = time.monotonic()
            self._api.post("/v1/events", event)
            arrival = self._next(self._sound, HTTPStatus.NO_CONTENT)
            self._screen.arrival(arrival, f"{(arrival.at - posted) * 1000:.0f} ms")
        self._check_last(self._arrivals[-1])

    def _check_last(self, arrival: Arrival) -> None:
        tampered = fault_of(self._sound.secret, arrival.headers, arrival.body + b" ")
        _expect(tampered is not None, "A changed body still verified.")
        _expect(_NUMBER in arrival.body, f"The number {_NUMBER!r} did not arrive as it was sent.")
        self._screen.gap()
        self._screen.seen("one more byte in the body, and the signature no longer verifies")
        self._screen.seen(_NUMBER.decode(), " left the producer and arrived, digit for digit")

    def _retry(self) -> list[Arrival]:
        self._screen.step(
            2,
            "Retried",
            "A second receiver is down: one attempt at once, then after 1 s and 1.5 s.",
        )
        self._screen.columns()
        arrivals: list[Arrival] = []
        for number, wait in enumerate(_SCHEDULE, 1):
            with self._screen.waiting(
                f"attempt {number} of {len(_SCHEDULE)} follows after {wait:g} s, ±20 %"
            ):
                arrival = self._next(self._down, HTTPStatus.SERVICE_UNAVAILABLE)
            gap = arrival.at - arrivals[-1].at if arrivals else 0.0
            _expect(gap >= wait * _EARLIEST, f"Attempt {number} came after {gap:.2f} s, too early.")
            self._screen.arrival(arrival, f"{gap:.1f} s" if arrivals else "at once")
            arrivals.append(arrival)
        attempts = [arrival.attempt for arrival in arrivals]
        _expect(attempts == ["1", "2", "3"], f"The attempts were numbered {attempts}.")
        return arrivals

    def _bury(self) -> str:
        self._screen.step(
            3, "Dead letter", "No attempt is left. The delivery is kept, and so is the reason."
        )
        letter = self._await("The dead letter did not appear.", self._dead_letter)
        reason, status = letter["reason"], letter["lastOutcome"].get("statusCode")
        _expect(reason == "attempts_exhausted", f"The reason was {reason}.")
        self._screen.bad(
            (reason, "bold red"), f"  {letter['attempts']} attempts, the last: {status}"
        )
        self._screen.detail(letter["id"], letter["state"])
        return str(letter["id"])

    def _replay(self, name: str, failed: list[Arrival]) -> None:
        self._screen.step(
            4,
            "Replayed",
            "The receiver is up again, and one call sends the same delivery once more.",
        )
        self._down.answer = HTTPStatus.NO_CONTENT
        time.sleep(_PACE)
        asked = time.monotonic()
        self._api.post(f"/v1/dead-letters/{name}/replay")
        self._screen.columns()
        arrival = self._next(self._down, HTTPStatus.NO_CONTENT)
        self._screen.arrival(arrival, f"{(arrival.at - asked) * 1000:.0f} ms")
        _expect(arrival.attempt == "4", f"The replay was attempt {arrival.attempt}, not 4.")
        same = {each.webhook_id for each in (*failed, arrival)}
        _expect(len(same) == 1, "The replay had another webhook-id.")
        self._await("The dead letter was not resolved.", lambda: self._resolved(name))
        self._screen.gap()
        self._screen.seen("the webhook-id is still ", (arrival.webhook_id, "cyan"))
        self._screen.seen("the dead letter is resolved")

    def _sum_up(self) -> None:
        listed = self._api.get("/v1/deliveries")["data"]
        statuses = [each["status"] for each in listed]
        _expect(statuses == ["delivered"] * 4, f"The deliveries ended as {statuses}.")
        more = self._sound.next(0) or self._down.next(0)
        _expect(more is None, "More arrived than was sent.")
        self._screen.summary(
            f"{len(_EVENTS)} events, {len(listed)} deliveries, all delivered.",
            f"{len(self._arrivals)} requests arrived, and every signature verified. "
            f"{self._screen.seconds:.1f} s in all.",
        )

    def _subscribe(self, inbox: Inbox, **wanted: object) -> None:
        body = json.dumps({"url": inbox.url, **wanted}).encode()
        inbox.secret = self._api.post("/v1/subscriptions", body)["secret"]

    def _next(self, inbox: Inbox, answer: HTTPStatus) -> Arrival:
        arrival = inbox.next(_PATIENCE)
        if arrival is None:
            raise DemoError(f"Nothing arrived at {inbox.url} within {_PATIENCE:.0f} s.")
        _expect(arrival.fault is None, f"The signature of a delivery: {arrival.fault}.")
        _expect(arrival.answer is answer, f"It was answered {arrival.answer}, not {answer}.")
        _expect(arrival.operation_id == _OPERATION, f"It was about {arrival.operation_id}.")
        self._arrivals.append(arrival)
        return arrival

    def _dead_letter(self) -> Any | None:  # noqa: ANN401  JSON is what it is
        letters = self._api.get("/v1/dead-letters", resolved="false")["data"]
        return letters[0] if letters else None

    def _resolved(self, name: str) -> bool:
        return bool(self._api.get(f"/v1/dead-letters/{name}")["state"] == "resolved")

    @staticmethod
    def _await(otherwise: str, look: Callable[[], T | None]) -> T:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            time.sleep(_LOOK_EVERY)
        raise DemoError(otherwise)


def _expect(true: bool, otherwise: str) -> None:  # noqa: FBT001  it reads like an assert
    if not true:
        raise DemoError(otherwise)
