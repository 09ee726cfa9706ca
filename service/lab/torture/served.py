"""The service as the torture runs it: what ``ringback serve`` runs, with a clock that may jump.

python -m service.lab.torture.served --clock FILE --node FILE [--roles api,worker,sweeper]

The number that its leases have in them is left in the second file.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from service import runtime, settings
from service.lab.torture.clock import JumpingClock
from service.ports import Clock
from service.runtime.wiring import Base, Outside

#: What one process that does everything does.
EVERYTHING: Final = "api,worker,sweeper"


class _Jumping(Outside):
    """The world as it is, but for its time."""

    def __init__(self, clock: Path, node: Path) -> None:
        self._clock = JumpingClock(clock)
        self._node = node

    def clock(self) -> Clock:
        """The clock that jumps."""
        return self._clock

    def base(self, base: Base) -> Base:
        """What it is; before anything is leased, it is known by whom."""
        self._node.write_text(str(base.database.node))
        return base


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(description="The service, with a clock that may jump.")
    parser.add_argument("--clock", type=Path, required=True)
    parser.add_argument("--node", type=Path, required=True)
    parser.add_argument("--roles", default=EVERYTHING)
    options = parser.parse_args()
    roles = frozenset(options.roles.split(","))
    try:
        outside = _Jumping(options.clock, options.node)
        runtime.serve(settings.load(os.environ), roles, outside=outside)
    except OSError as error:
        sys.exit(f"ringback: {error}")


if __name__ == "__main__":
    main()
