"""Metrics for Prometheus, made when they are asked for: the work itself counts in plain numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from service.ports import Backlog

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of one moment."""

    version: str
    events_accepted: int
    #: Attempts by result: ``delivered``, ``failed`` (to be tried again) or ``dead``.
    attempts: Mapping[str, int]
    in_flight: int
    #: Those who wait for events: streams, WebSockets, long polls.
    followers: int
    backlog: Backlog


Family = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily


class _Collector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        now = self._snapshot
        yield InfoMetricFamily("ringback", "This process", value={"version": now.version})
        yield CounterMetricFamily(
            "ringback_events_accepted", "Events committed", value=now.events_accepted
        )
        attempts = CounterMetricFamily(
            "ringback_attempts", "Attempts to deliver, by what came of them", labels=["result"]
        )
        for result in ("delivered", "failed", "dead"):
            attempts.add_metric([result], now.attempts.get(result, 0))
        yield attempts
        yield from self._gauges()

    def _gauges(self) -> Iterator[Family]:
        now, backlog = self._snapshot, self._snapshot.backlog
        yield GaugeMetricFamily("ringback_sends_in_flight", "Sends under way", now.in_flight)
        yield GaugeMetricFamily(
            "ringback_followers", "Streams, WebSockets and long polls under way", now.followers
        )
        yield GaugeMetricFamily("ringback_deliveries_open", "Deliveries not finished", backlog.open)
        yield GaugeMetricFamily("ringback_deliveries_due", "Open deliveries due now", backlog.due)
        yield GaugeMetricFamily(
            "ringback_oldest_due_age_seconds",
            "How long the longest waiting due delivery has been due",
            backlog.oldest_due_age / 1000,
        )
        yield GaugeMetricFamily(
            "ringback_dead_letters_open", "Dead letters not resolved", backlog.dead_letters_open
        )


def exposition(snapshot: Snapshot) -> bytes:
    """The numbers in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot))
    return generate_latest(registry)
