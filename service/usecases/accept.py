"""Accept: producers' events, many requests to one commit.

No timer gathers a group: one is committed as soon as the event loop went round a few times, and the
next forms while it is on its way to the disk.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final, NamedTuple

from service.domain.acceptance import Accepted, Verdict
from service.domain.errors import Refusal
from service.domain.event import EventIn
from service.domain.histogram import BATCHES, Histogram
from service.domain.values import replace
from service.ports import (
    AcceptRequest,
    AcceptResult,
    AcceptStore,
    Answer,
    Backplane,
    Foretell,
    GroupTooWideError,
    Moved,
    Once,
    Replayed,
    Retried,
    StoreUnavailableError,
    UnknownCommitError,
    Waker,
)
from service.usecases.gathering import turns
from service.usecases.reporting import report

#: Events in one group, so that no transaction holds the others up for long.
_GROUP: Final = 500

#: Turns of the event loop before a group is cut. With 64 producers groups are of 58 requests
#: instead of 32, and each takes a sixth less of the processor; more turns do no more.
_TURNS: Final = 4

#: Bytes of requests that wait for their commit: while the store hangs, memory is not its queue.
_MOST_WAITING: Final = 64 * 1024 * 1024


class _Waiting(NamedTuple):
    request: AcceptRequest
    future: "asyncio.Future[AcceptResult]"
    #: Bytes.
    weight: int


class Accept:
    """Takes events and answers once they are durably committed."""

    def __init__(self, store: AcceptStore, waker: Waker, backplane: Backplane) -> None:
        self._store = store
        self._waker = waker
        self._foretell: Foretell | None = None
        self._backplane = backplane
        self._waiting: deque[_Waiting] = deque()
        self._weight = 0
        self._runner: asyncio.Task[None] | None = None
        #: Events committed by this process; posted again, they do not count.
        self.accepted = 0
        #: Requests that shared one commit.
        self.committed = Histogram(BATCHES)

    def lead_to(self, worker: Waker) -> None:
        """Tell the worker of this process before the commit, where the store can."""
        self._foretell = partial(_wake, worker)

    async def events(
        self,
        tenant_id: str,
        items: Sequence[EventIn | Refusal],
        once: Once | None = None,
        credential: bytes | None = None,
    ) -> list[Verdict] | Replayed | Refusal:
        """One verdict an item, in order, or the answer that was given to the same request before.

        The API key whose hash is ``credential``, if there is one, has to be in force still.

        Raises:
            UnknownCommitError: it, or a part of it, may have been committed.
            StoreUnavailableError: nothing was committed; or too much waits for that already.
        """
        answer = await self.request(AcceptRequest(tenant_id, items, once, credential=credential))
        if isinstance(answer, Retried):
            raise TypeError("Events were posted, and a retry came of them.")
        return answer

    async def request(self, request: AcceptRequest) -> Answer:
        """What comes of a request that is more than events; else as :meth:`events`."""
        weight = sum([each.weight for each in request.events if isinstance(each, EventIn)])
        if self._waiting and self._weight + weight > _MOST_WAITING:
            raise StoreUnavailableError("More waits for the store than there is room for.")
        future: asyncio.Future[AcceptResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, future, weight))
        self._weight += weight
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name="accept")
        return (await future).answer

    async def _run(self) -> None:
        while self._waiting:
            await turns(_TURNS)
            await self._commit(self._next_group())

    def _next_group(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        size = len(group[0].request.events)
        while self._waiting and size + len(self._waiting[0].request.events) <= _GROUP:
            group.append(self._waiting.popleft())
            size += len(group[-1].request.events)
        self._weight -= sum(each.weight for each in group)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group; one that fails as a group is tried request by request."""
        try:
            results = await self._store.accept(
                [each.request for each in group], foretell=self._foretell
            )
        except StoreUnavailableError as error:
            _fail(group, error)
        except GroupTooWideError:
            await self._split(group)
        except Exception as error:  # noqa: BLE001  handed to the request that caused it
            if len(group) == 1:
                _fail(group, error)
            for each in group if len(group) > 1 else ():
                await self._commit([each])
        else:
            self._answer(group, results)

    async def _split(self, group: list[_Waiting]) -> None:
        if len(group) > 1:
            middle = len(group) // 2
            await self._commit(group[:middle])
            await self._commit(group[middle:])
            return
        try:
            result = await self._pieces(group[0].request)
        except Exception as error:  # noqa: BLE001  handed to the request that caused it
            _fail(group, error)
        else:
            self._answer(group, [result])

    async def _pieces(self, request: AcceptRequest) -> AcceptResult:
        """Commit one wide request in halves; with an Idempotency-Key it stays whole."""
        if request.once is not None or len(request.events) <= 1:
            return (await self._store.accept([request], bounded=False))[0]
        middle = len(request.events) // 2
        verdicts: list[Verdict] = []
        lanes: frozenset[int] = frozenset()
        for part in (request.events[:middle], request.events[middle:]):
            piece = replace(request, events=part)
            try:
                result = await self._piece(piece)
            except StoreUnavailableError as error:
                if verdicts:
                    raise UnknownCommitError(f"A part was committed. {error}") from error
                raise
            lanes |= result.lanes
            if isinstance(result.answer, Refusal):
                if not verdicts:  # so will the rest be
                    return result
                verdicts += [result.answer] * len(part)
            elif isinstance(result.answer, list):
                verdicts += result.answer
        return AcceptResult(verdicts, lanes)

    async def _piece(self, piece: AcceptRequest) -> AcceptResult:
        try:
            return (await self._store.accept([piece]))[0]
        except GroupTooWideError:
            return await self._pieces(piece)

    def _answer(self, group: list[_Waiting], results: Sequence[AcceptResult]) -> None:
        self.committed.observe(len(group))
        lanes: set[int] = set()
        moved: set[Moved] = set()
        for each, result in zip(group, results, strict=True):
            lanes |= result.lanes
            new = _moved(result)
            self.accepted += len(new)
            for name in new:
                moved.add((each.request.tenant_id, name))
        self._tell(lanes, moved)  # before the answers, whose requests have their turns first else
        for each, result in zip(group, results, strict=True):
            if not each.future.done():
                each.future.set_result(result)

    def _tell(self, lanes: set[int], moved: set[Moved]) -> None:
        """Wake and publish; where that fails, the sweep and the next look make up for it."""
        if lanes:
            _wake(self._waker, lanes)
        try:
            if moved:
                self._backplane.publish(list(moved))
        except Exception as error:  # noqa: BLE001  what is committed stays so; others wait for answers
            report("What was committed could not be told of", error)


def _wake(waker: Waker, lanes: Collection[int]) -> None:
    try:
        waker.wake(lanes)
    except Exception as error:  # noqa: BLE001  the sweep makes up for it; others wait for answers
        report("Lanes could not be woken", error)


def _moved(result: AcceptResult) -> list[str]:
    """The operation of each event that is new; empty for an event that has none."""
    answer = result.answer
    if isinstance(answer, Retried):
        return [answer.operation.id] if answer.made else []
    if not isinstance(answer, list):
        return []
    return [
        each.operation_id or ""
        for each in answer
        if isinstance(each, Accepted) and not each.duplicate
    ]


def _fail(group: list[_Waiting], error: Exception) -> None:
    for each in group:
        if not each.future.done():
            each.future.set_exception(error)
