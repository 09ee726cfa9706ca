"""The service as the torture runs it: what ``ringback serve`` runs, with a clock that may jump.

python -m service.lab.torture.served --clock FILE [--roles api,worker,sweeper]
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from service import runtime, settings
from service.lab.torture.clock import JumpingClock
from service.ports import Clock
from service.runtime.wiring import Outside

#: What one process that does everything does.
EVERYTHING: Final = "api,worker,sweeper"


class _Jumping(Outside):
    """The world as it is, but for its time."""

    def __init__(self, file: Path) -> None:
        self._clock = JumpingClock(file)

    def clock(self) -> Clock:
        """The clock that jumps."""
        return self._clock


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(description="The service, with a clock that may jump.")
    parser.add_argument("--clock", type=Path, required=True)
    parser.add_argument("--roles", default=EVERYTHING)
    options = parser.parse_args()
    roles = frozenset(options.roles.split(","))
    try:
        runtime.serve(settings.load(os.environ), roles, outside=_Jumping(options.clock))
    except OSError as error:
        sys.exit(f"ringback: {error}")


if __name__ == "__main__":
    main()
