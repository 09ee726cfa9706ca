"""Which events of a feed somebody wants to see."""

from dataclasses import dataclass

from service.domain.matching import matches_any
from service.ports import EventLine, EventView


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; no pattern stands for all."""

    types: tuple[str, ...]
    operation_types: tuple[str, ...]

    def __call__(self, event: EventLine | EventView) -> bool:
        """Whether it is one of them."""
        if self.types and not matches_any(self.types, event.type):
            return False
        kind = event.operation_type
        return not self.operation_types or (
            kind is not None and matches_any(self.operation_types, kind)
        )
