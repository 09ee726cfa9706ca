"""Metrics for Prometheus, made when they are asked for: the work itself counts in plain numbers.

No label tells whose a thing is: what there may be many of (tenants, subscriptions, addresses) is
for the API, which is asked for a few at a time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from service.domain.histogram import Histogram
from service.domain.outcome import ErrorClass
from service.ports import Backlog

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_RESULTS: Final = ("delivered", "failed", "dead")
#: Milliseconds in a second.
_MS: Final = 1000
_AS_LAST_COUNTED: Final = "as the sweeper last counted (ringback_count_age_seconds ago)"
_BY_ITS_CLOCK: Final = "by the clock of who sends; replays and manual retries are left out"


@dataclass(frozen=True, slots=True)
class Work:
    """What a process did since it started; counts, and times in ms."""

    events_accepted: int
    #: Attempts by result: ``delivered``, ``failed`` (to be tried again) or ``dead``.
    attempts: Mapping[str, int]
    #: Attempts that failed, by error class.
    errors: Mapping[str, int]
    late_results: int
    expired_leases: int
    #: Of attempts; of the way from acceptance to the first attempt, and to the delivery.
    attempt: Histogram
    lag: Histogram
    delivery: Histogram
    #: What shared a transaction, by what it was.
    commits: Mapping[str, Histogram]
    #: Until answers began, by method, route and class of status.
    answers: Mapping[tuple[str, str, str], Histogram]


@dataclass(frozen=True, slots=True)
class Queue:
    """How the queue stood when it was last looked at."""

    backlog: Backlog
    #: ms that the longest waiting delivery has been due which nothing holds back.
    age: int
    circuits_open: int
    #: Seconds since that look.
    looked: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of one moment. What the process does not do is ``None``, or not there."""

    version: str
    work: Work
    in_flight: int
    #: Sends that could be started now; of a worker.
    slots_free: int | None
    #: Those who wait for something: streams, WebSockets, long polls, live pages.
    followers: int
    #: Seconds since the last round that was done without a fault, by role.
    rounds: Mapping[str, float]
    #: Of a sweeper.
    queue: Queue | None


class _Collector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot
        yield InfoMetricFamily("ringback", "This process", value={"version": now.version})
        yield from _counters(now.work)
        yield from _histograms(now.work)
        yield from _gauges(now)
        if now.queue is not None:
            yield from _standing(now.queue)


def _counters(work: Work) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "ringback_events_accepted", "Events committed", value=work.events_accepted
    )
    attempts = CounterMetricFamily(
        "ringback_attempts", "Attempts to deliver, by what came of them", labels=["result"]
    )
    for result in _RESULTS:
        attempts.add_metric([result], work.attempts.get(result, 0))
    yield attempts
    errors = CounterMetricFamily(
        "ringback_attempt_errors", "Attempts that failed, by the class of error", labels=["error"]
    )
    for error in ErrorClass:
        errors.add_metric([error.value], work.errors.get(error.value, 0))
    yield errors
    yield CounterMetricFamily(
        "ringback_late_results",
        "Results that came after their lease was lost, and so changed nothing",
        value=work.late_results,
    )
    yield CounterMetricFamily(
        "ringback_leases_expired",
        "Leases of workers that are gone or slept, found by this sweeper; at its start too",
        value=work.expired_leases,
    )


def _histograms(work: Work) -> Iterator[Metric]:
    for name, text, alone in (
        ("attempt_duration", "Time of an attempt", work.attempt),
        (
            "first_attempt_lag",
            f"Time from the acceptance of an event to its first attempt; {_BY_ITS_CLOCK}",
            work.lag,
        ),
        (
            "delivery_duration",
            f"Time from the acceptance of an event to its delivery; {_BY_ITS_CLOCK}",
            work.delivery,
        ),
    ):
        yield _histogram(f"ringback_{name}_seconds", text, [], [((), alone)], _MS)
    yield _histogram(
        "ringback_commit_batch_size",
        "Requests that were accepted, or results that were settled, in one transaction",
        ["work"],
        [((kind,), each) for kind, each in work.commits.items()],
        1,
    )
    yield _histogram(
        "ringback_http_request_duration_seconds",
        "Time until the answer to a request began, by the route's template; long polls wait",
        ["method", "route", "status"],
        sorted(work.answers.items(), key=itemgetter(0)),
        _MS,
    )


def _gauges(now: Snapshot) -> Iterator[Metric]:
    yield GaugeMetricFamily("ringback_sends_in_flight", "Sends under way", now.in_flight)
    if now.slots_free is not None:
        yield GaugeMetricFamily(
            "ringback_slots_free", "Sends that this worker could start now", now.slots_free
        )
    yield GaugeMetricFamily(
        "ringback_followers",
        "Streams, WebSockets, long polls and live pages under way",
        now.followers,
    )
    rounds = GaugeMetricFamily(
        "ringback_sweep_age_seconds",
        "Time since this process last did without a fault what it does every second: as sweeper "
        "tidy up, as worker look for what nobody was told of",
        labels=["role"],
    )
    for role, age in now.rounds.items():
        rounds.add_metric([role], age)
    yield rounds


def _standing(queue: Queue) -> Iterator[Metric]:
    backlog = queue.backlog
    for name, text, value in (
        ("deliveries_open", "Deliveries not finished", backlog.open),
        ("deliveries_due", "Open deliveries due now, those held back included", backlog.due),
        (
            "oldest_due_age_seconds",
            "How long the longest waiting due delivery has been due, held back or not",
            backlog.oldest_due_age / _MS,
        ),
        (
            "queue_age_seconds",
            "How long the longest waiting delivery has been due that is not held back",
            queue.age / _MS,
        ),
        ("dead_letters_open", "Dead letters not resolved", backlog.dead_letters_open),
        ("circuits_open", "Subscriptions whose circuit is open", queue.circuits_open),
    ):
        yield GaugeMetricFamily(f"ringback_{name}", f"{text}, {_AS_LAST_COUNTED}", value)
    yield GaugeMetricFamily(
        "ringback_count_age_seconds",
        "Time since the queue was last counted: a few seconds, or 50 times what counting takes",
        queue.looked,
    )


def _histogram(
    name: str,
    text: str,
    labels: list[str],
    values: Iterable[tuple[tuple[str, ...], Histogram]],
    unit: int,
) -> Metric:
    """``unit`` is how many of a histogram's units make one of the metric's."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, each in values:
        bounds = [*(str(float(bound / unit)) for bound in each.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(each.counts), strict=True))
        family.add_metric(key, buckets, each.total / unit)
    return family


def exposition(snapshot: Snapshot) -> bytes:
    """The numbers in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
