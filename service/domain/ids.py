"""Ids: prefixed and time-sortable outside, 63-bit time-sorted keys inside.

A key is ``milliseconds since 2020 (42 bits) | node (8 bits) | counter (13 bits)``: it sorts by
time, so it leads primary keys and answers ``since``/``until`` without an index of its own. A
delivery *is* the pair (event, subscription), so its id is made of the two keys and needs no column:
one delivery per pair is a primary key, not a promise.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import NamedTuple

_EPOCH = 1_577_836_800_000  # 2020-01-01T00:00:00Z
_NODE_BITS = 8
_COUNTER_BITS = 13
_LOW_BITS = _NODE_BITS + _COUNTER_BITS
_COUNTER_END = 1 << _COUNTER_BITS
MAX_KEY = (1 << 63) - 1

#: How much smaller than its operation's the key of an event may be: two days, so that who reads a
#: log leaves parts of earlier days alone. It is larger, or smaller by the little that two processes
#: differ; but earlier versions made operations by the clocks of their machines, some of which show
#: another zone's time.
LEAD = 2 * 86_400_000 << _LOW_BITS

#: Random pieces that are drawn together.
_PIECES = 64
_EVENT_DIGITS = 16
_REF_DIGITS = 24


class KeyMaker:
    """Makes keys that only grow and never meet another node's.

    ``after`` is the largest key made before, by this node's earlier processes: with a clock set
    back between two starts the same key could be made twice otherwise.
    """

    def __init__(self, node: int = 0, after: int = 0) -> None:
        if not 0 <= node < 1 << _NODE_BITS:
            raise ValueError(f"A node is a number from 0 to {(1 << _NODE_BITS) - 1}, not {node}.")
        self._node = node << _COUNTER_BITS
        self._moment = after >> _LOW_BITS if after else -1
        self._counter = _COUNTER_END - 1  # so that the next key is of a later millisecond

    def go_past(self, key: int) -> None:
        """Let every key to come be larger than this one."""
        moment = key >> _LOW_BITS
        if moment >= self._moment:
            self._moment, self._counter = moment, _COUNTER_END - 1

    def next(self, now: int) -> int:
        """The next key at ``now`` (ms); larger even when the clock stands or jumps back."""
        moment = now - _EPOCH
        if moment > self._moment:
            self._moment, self._counter = moment, 0
        elif self._counter + 1 < _COUNTER_END:
            self._counter += 1
        else:  # more than 8,192 in a millisecond: borrow the next one
            self._moment, self._counter = self._moment + 1, 0
        return self._moment << _LOW_BITS | self._node | self._counter


def key_floor(at: int) -> int:
    """The smallest key that could be made at ``at`` (ms)."""
    return min(max(at - _EPOCH, 0) << _LOW_BITS, MAX_KEY)


def key_time(key: int) -> int:
    """The millisecond in which a key was made."""
    return (key >> _LOW_BITS) + _EPOCH


def key_node(key: int) -> int:
    """The node that made a key."""
    return key >> _COUNTER_BITS & (1 << _NODE_BITS) - 1


class DeliveryRef(NamedTuple):
    """Names one delivery: the pair (event, subscription)."""

    event_key: int
    subscription_no: int


def drawn(draw: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Random pieces of ``size`` bytes without end, 64 at a time: the system is asked each time."""
    blocks = (draw(_PIECES * size) for _ in count())
    return (block[at : at + size] for block in blocks for at in range(0, _PIECES * size, size))


def keyed(prefix: str, key: int, salt: bytes) -> str:
    """An id such as ``evt_<16 hex of key><8 hex of salt>``; nobody guesses the salt."""
    return f"{prefix}_{key:016x}{salt.hex()}"


def delivery_id(ref: DeliveryRef) -> str:
    """``dlv_`` and 24 hex digits."""
    return f"dlv_{ref.event_key:016x}{ref.subscription_no:08x}"


def dead_letter_id(ref: DeliveryRef) -> str:
    """``dl_`` and the delivery's 24 hex digits: a delivery has at most one dead letter."""
    return f"dl_{ref.event_key:016x}{ref.subscription_no:08x}"


def attempt_id(ref: DeliveryRef, number: int) -> str:
    """``att_``, the delivery's 24 hex digits and four of the attempt's number."""
    return f"att_{ref.event_key:016x}{ref.subscription_no:08x}{number:04x}"


def parse_ref(prefix: str, text: str) -> DeliveryRef | None:
    """Read a ``dlv_`` or ``dl_`` id; ``None`` when it is not one of ours."""
    head = f"{prefix}_"
    digits = text[len(head) :]
    if not text.startswith(head) or len(digits) != _REF_DIGITS or not _is_lower_hex(digits):
        return None
    ref = DeliveryRef(int(digits[:_EVENT_DIGITS], 16), int(digits[_EVENT_DIGITS:], 16))
    return ref if ref.event_key <= MAX_KEY else None


def _is_lower_hex(digits: Iterable[str]) -> bool:
    return all(digit in "0123456789abcdef" for digit in digits)
