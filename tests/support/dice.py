"""Chance that is the same in every run."""

import random


class SeededDice:
    """See :class:`service.ports.Dice`."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311  repeatable, and guards nothing

    def random(self) -> float:
        return self._random.random()

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)
