"""All reads: each method one snapshot, of one tenant."""

from service.store.database import Database
from service.store.reading_audit import AuditReads
from service.store.reading_dead_letters import DeadLetterReads
from service.store.reading_deliveries import DeliveryReads
from service.store.reading_feed import FeedReads
from service.store.reading_keys import PublicKeyReads
from service.store.reading_operations import OperationReads
from service.store.reading_stats import StatsReads
from service.store.reading_undelivered import UndeliveredReads


class ReadStore(
    OperationReads,
    FeedReads,
    DeliveryReads,
    DeadLetterReads,
    UndeliveredReads,
    StatsReads,
    AuditReads,
    PublicKeyReads,
):
    """See :class:`service.ports.ReadStore`; ``StatsStore``, ``AuditLog``, ``PublicKeyStore``.

    Without a ``breaker`` no circuit is open.
    """

    def __init__(self, database: Database, *, breaker: bool = True) -> None:
        DeliveryReads.__init__(self, database, breaker=breaker)
        StatsReads.__init__(self, database, breaker=breaker)
