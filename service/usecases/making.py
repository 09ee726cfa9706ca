"""Making what is new: a moment, a key made in it, a name that nobody guesses."""

from dataclasses import dataclass
from typing import Final

from service.domain import ids
from service.ports import Clock, Dice

#: Bytes of chance in an id made here.
_SALT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Maker:
    """Time, chance and keys, where something new needs all three."""

    clock: Clock
    dice: Dice
    keys: ids.KeyMaker

    def name(self, prefix: str) -> tuple[int, int, str]:
        """The moment, a key made in it, and an id made of the key."""
        now = self.clock.now()
        key = self.keys.next(now)
        return now, key, ids.keyed(prefix, key, self.dice.bytes(_SALT_BYTES))
