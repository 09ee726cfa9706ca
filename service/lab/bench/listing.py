"""The row about lists: every list of the API and the console, in a store that holds much.

Filters are asked for with values that many have, that few have and that nobody has: the last are
those for which a list without its index reads everything.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from service.domain import times
from service.lab.bench import filling
from service.lab.bench.databases import fill
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.hosting import Service, running
from service.lab.bench.session import Session

_SHARE: Final = 0.95
#: How long ago it all began: well within retention.
_AGO_MS: Final = 2 * 3_600_000
_SUBSCRIPTIONS: Final = 100
#: Seconds that one page may take: it is a figure however slow it is.
_PATIENCE: Final = 60.0
_OPERATION: Final = "past-000000000010"
_EVENT: Final = "evt_past000000000042"

#: Lists of the API. ``{subscription}`` has a hundredth of all deliveries, ``{middle}`` is the time
#: at which half of them had come.
_API: Final = (
    "/v1/operations",
    "/v1/operations?limit=100",
    "/v1/operations?status=PROCESSING",
    "/v1/operations?status=FAILED",
    "/v1/operations?type=report",
    "/v1/operations?type=none",
    "/v1/operations?clientJobId=none",
    "/v1/operations?createdBefore={middle}",
    f"/v1/operations/{_OPERATION}/events",
    "/v1/events",
    "/v1/events?limit=100",
    "/v1/events?types=job.step",
    "/v1/events?types=none",
    "/v1/events?operationType=none",
    "/v1/subscriptions",
    "/v1/subscriptions?status=paused",
    "/v1/subscriptions?operationId=none",
    "/v1/subscriptions/{subscription}/undelivered",
    "/v1/subscriptions/{subscription}/stats",
    "/v1/deliveries",
    "/v1/deliveries?limit=100",
    "/v1/deliveries?status=pending",
    "/v1/deliveries?status=delivering",
    "/v1/deliveries?status=delivered",
    "/v1/deliveries?status=dead",
    "/v1/deliveries?status=cancelled",
    "/v1/deliveries?subscriptionId={subscription}",
    "/v1/deliveries?subscriptionId={subscription}&status=dead",
    "/v1/deliveries?subscriptionId={subscription}&status=cancelled",
    f"/v1/deliveries?operationId={_OPERATION}",
    f"/v1/deliveries?eventId={_EVENT}",
    "/v1/deliveries?eventType=job.step",
    "/v1/deliveries?eventType=none",
    "/v1/deliveries?until={middle}",
    "/v1/dead-letters",
    "/v1/dead-letters?limit=100",
    "/v1/dead-letters?resolved=true",
    "/v1/dead-letters?subscriptionId={subscription}",
    "/v1/dead-letters?eventType=none",
    "/v1/dead-letters?reason=gone",
    "/v1/dead-letters?until={middle}",
    "/v1/dead-letters/summary",
    "/v1/dead-letters/summary?subscriptionId={subscription}",
    "/v1/stats",
    "/v1/api-keys",
    "/v1/tenants",
    "/v1/audit-log",
    "/v1/audit-log?action=none",
    "/v1/audit-log?target=none",
    "/metrics",
)
_CONSOLE: Final = (
    "/console",
    "/console/operations",
    "/console/operations?status=FAILED",
    f"/console/operations/{_OPERATION}",
    "/console/events",
    "/console/events?types=job.step",
    "/console/events?types=none",
    "/console/events?operationType=none&until={middle}",
    "/console/events?since={middle}",
    f"/console/events?operationId={_OPERATION}",
    f"/console/events/{_EVENT}",
    "/console/subscriptions",
    "/console/subscriptions/{subscription}",
    "/console/deliveries",
    "/console/deliveries?status=pending",
    "/console/deliveries?status=cancelled",
    "/console/deliveries?eventType=none",
    "/console/dead-letters",
    "/console/dead-letters/all",
    "/console/dead-letters/all?eventType=none",
    "/console/keys",
    "/console/tenants",
    "/console/audit-log",
    "/console/system",
)


async def row(session: Session) -> Values:
    """The 95th hundredth of each list's times, the slowest first."""
    count = session.sizes.listed
    since = time.time_ns() // 1_000_000 - _AGO_MS
    folder = session.copy_of_installed()
    with running(session.mode, folder) as service:
        subscription = await service.subscribe(session.url(), "nothing.posted")
    await asyncio.to_thread(_fill, service, count, since)
    middle = times.render(since + count // filling.A_MILLISECOND // 2)
    names = {"subscription": subscription["id"], "middle": middle}
    with session.service(folder) as service:
        async with _visitor(service) as client:
            found = {
                path: await _p95(client, path.format(**names), session.sizes.requests)
                for path in _API + _CONSOLE
            }
    slowest = sorted(found.items(), key=lambda each: -each[1])
    return {"slowest p95": slowest[0][1], "listed": count, **dict(slowest)}


def _fill(service: Service, count: int, since: int) -> None:
    no = service.store.number("SELECT max(no) FROM subscriptions")
    more = filling.more_subscriptions(_SUBSCRIPTIONS - 1, no, service.store.words)
    service.store.run(more)
    fill(service.store, filling.mixture, count, since, no)


@asynccontextmanager
async def _visitor(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has signed in to the console, too."""
    async with service.client() as client:
        client.timeout = httpx.Timeout(_PATIENCE)
        given = {"key": service.key}
        ours = {"origin": service.url, "sec-fetch-site": "same-origin"}
        answer = await client.post("/console/sign-in", data=given, headers=ours)
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise BenchError(f"The console lets nobody in: {answer.status_code}.")
        yield client


async def _p95(client: httpx.AsyncClient, path: str, requests: int) -> float:
    """Milliseconds that 95 of a hundred requests for a page take at most."""
    taken = []
    for _ in range(requests):
        begun = time.perf_counter()
        answer = await client.get(path)
        taken.append((time.perf_counter() - begun) * 1000)
        if not answer.is_success:
            raise BenchError(f"GET {path} was answered {answer.status_code}: {answer.text[:300]}")
    return sorted(taken)[round(requests * _SHARE) - 1]
