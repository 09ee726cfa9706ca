"""The `ringback` command. Commands import what they need only when they run."""

import gc
from typing import Final

#: Objects that are new since a garbage collection before there is another. Importing makes a
#: hundred thousand of them, nearly all of which stay: to look for others was a sixth of a start.
_YOUNG: Final = 100_000


def main() -> None:
    """Run the command line; what its exit codes mean is in :class:`service.cli.exits.Exit`."""
    gc.set_threshold(_YOUNG)
    from service.cli import app  # this makes them

    app.main()
