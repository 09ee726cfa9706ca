"""What a look at the surroundings finds."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Finding(NamedTuple):
    """What one look found; ``remedy`` is empty where there is none to be had or needed."""

    check: str
    level: Level
    found: str
    remedy: str = ""
