"""What the use cases ask of the outside, named by intent.

One method is one intention is one transaction; no transaction outlives the call. Times are ms,
lanes are subscription numbers. A refused request is a returned
:class:`~service.domain.errors.Refusal`; exceptions are for broken infrastructure only.
"""

from service.ports.accepting import AcceptRequest, AcceptResult, AcceptStore, Once, Replayed
from service.ports.adapters import (
    Clock,
    Dice,
    GroupTooWideError,
    SealError,
    Sender,
    StoreUnavailableError,
    Vault,
    Waker,
)
from service.ports.delivering import (
    Backlog,
    Claim,
    Claimed,
    DeliverStore,
    Lane,
    LaneQuota,
    Settled,
    Settlement,
    SweepStore,
)
from service.ports.managing import ManageStore, NewSubscription, Principal
from service.ports.reading import (
    AttemptView,
    DeadLetterCount,
    DeadLetterFilter,
    DeadLetterView,
    DeliveryFilter,
    DeliveryView,
    EventView,
    FeedSlice,
    OperationFilter,
    Page,
    ReadStore,
    Span,
    UndeliveredView,
)
from service.ports.replaying import ReplayPlan, ReplayRun, ReplayStep, ReplayStore
from service.ports.watching import Backplane, Note, Ticket, TicketStore

__all__ = [
    "AcceptRequest",
    "AcceptResult",
    "AcceptStore",
    "AttemptView",
    "Backlog",
    "Backplane",
    "Claim",
    "Claimed",
    "Clock",
    "DeadLetterCount",
    "DeadLetterFilter",
    "DeadLetterView",
    "DeliverStore",
    "DeliveryFilter",
    "DeliveryView",
    "Dice",
    "EventView",
    "FeedSlice",
    "GroupTooWideError",
    "Lane",
    "LaneQuota",
    "ManageStore",
    "NewSubscription",
    "Note",
    "Once",
    "OperationFilter",
    "Page",
    "Principal",
    "ReadStore",
    "ReplayPlan",
    "ReplayRun",
    "ReplayStep",
    "ReplayStore",
    "Replayed",
    "SealError",
    "Sender",
    "Settled",
    "Settlement",
    "Span",
    "StoreUnavailableError",
    "SweepStore",
    "Ticket",
    "TicketStore",
    "UndeliveredView",
    "Vault",
    "Waker",
]
