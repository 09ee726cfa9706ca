"""What a group of requests is judged by: operations and events, as they are or as they were.

Those of this process's last groups are remembered. Events are mostly of one of these, or of an
operation that is new: what is judged by that spares the look, and is written by a statement that
keeps nothing where one of them is otherwise by now, or where one that is not among them is there.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, select

from service.domain.acceptance import KnownEvent, Making, Planner, TenantName
from service.domain.errors import Refusal
from service.domain.operation import MOVES, Operation
from service.ports import AcceptRequest
from service.store.database import Tx
from service.store.rows import OPERATION_COLUMNS, operation_of
from service.store.schema import event_ids, events, operations
from service.store.statements import Row, Statement, among, bytewise

_operations = (
    select(*(operations.c[name] for name in OPERATION_COLUMNS))
    .where(operations.c.tenant_id == bindparam("tenant"), among(operations.c.id, "names"))
    .order_by(bytewise(operations.c.id))
)
_SEE_OPERATIONS: Final = Statement(_operations)
_FIND_OPERATIONS: Final = Statement(_operations.with_for_update())
_FIND_IDS: Final = Statement(
    select(event_ids.c.event_key).where(
        event_ids.c.tenant_id == bindparam("tenant"), among(event_ids.c.id, "names")
    )
)
#: By keys that are given, so that only the parts are looked into that they are of.
_FIND_EVENTS: Final = Statement(
    select(
        events.c.id, events.c.type, events.c.operation_id, events.c.sequence, events.c.status
    ).where(among(events.c.key, "keys"))
)
#: How a statement is read: in the transaction, or before it.
_Read = Callable[..., Awaitable[list[Row]]]
#: Operations that are remembered, and bytes of JSON in each at most.
_MOST: Final = 4_096
_HEAVY: Final = 2_048


class Known(NamedTuple):
    """What there is of what a group names."""

    operations: dict[TenantName, Operation]
    events: dict[TenantName, KnownEvent]

    def planner(self, making: Making) -> Planner:
        """A planner that goes by it."""
        return Planner(self.operations, self.events, making)


async def see(tx: Tx, group: Sequence[AcceptRequest]) -> Known:
    """What there is, which nobody is kept from changing."""
    return await _read(tx.aside, _SEE_OPERATIONS, group)


async def hold(tx: Tx, group: Sequence[AcceptRequest]) -> Known:
    """What there is, its operations locked."""
    return await _read(tx.fetch, _FIND_OPERATIONS, group)


class Recalled:
    """The operations that changed last; of one that has ended nothing more is to come."""

    def __init__(self) -> None:
        self._known: OrderedDict[TenantName, Operation] = OrderedDict()

    async def recall(self, _tx: Tx, group: Sequence[AcceptRequest]) -> Known:
        """Those that are named, as they were."""
        names = ((tenant, name) for tenant, (ids, _) in _names(group).items() for name in ids)
        return Known({name: self._known[name] for name in names if name in self._known}, {})

    def note(self, changed: Iterable[Operation]) -> None:
        """Remember them as they are now."""
        for each in changed:
            name = each.tenant_id, each.id
            self._known.pop(name, None)
            if MOVES[each.status] and _weight(each) <= _HEAVY:
                self._known[name] = each
        while len(self._known) > _MOST:
            self._known.popitem(last=False)


async def _read(read: _Read, find: Statement, group: Sequence[AcceptRequest]) -> Known:
    known = Known({}, {})
    for tenant, (wanted, ids) in sorted(_names(group).items()):
        for row in await read(find, tenant=tenant, names=sorted(wanted)):
            operation = operation_of(row)
            known.operations[tenant, operation.id] = operation
        for row in await _known_events(read, tenant, sorted(ids)):
            known.events[tenant, row[0]] = KnownEvent(*row[1:])
    return known


async def _known_events(read: _Read, tenant: str, names: list[str]) -> list[Row]:
    """Those of these events that there are: id, type, operation id, sequence and status."""
    found = await read(_FIND_IDS, tenant=tenant, names=names) if names else []
    return await read(_FIND_EVENTS, keys=[row[0] for row in found]) if found else []


def _names(group: Sequence[AcceptRequest]) -> dict[str, tuple[set[str], set[str]]]:
    """The operation ids and the event ids that a group names, by tenant."""
    names: dict[str, tuple[set[str], set[str]]] = {}
    for request in group:
        named = names.get(request.tenant_id)
        if named is None:
            named = names[request.tenant_id] = (set(), set())
        operation_ids, given_ids = named
        for event in request.events:
            if isinstance(event, Refusal):
                continue
            if event.operation_id:
                operation_ids.add(event.operation_id)
            if event.id:
                given_ids.add(event.id)
        if request.retry is not None:
            operation_ids.add(request.retry.failed)
    return names


def _weight(operation: Operation) -> int:
    """Bytes of JSON in it: what an event says before the end is kept as well."""
    said = (operation.progress, operation.result, operation.error, operation.warnings)
    return sum(len(part) for part in (*said, operation.metadata) if part is not None)
