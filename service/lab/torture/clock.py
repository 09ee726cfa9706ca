"""A clock that jumps: how far it is off stands in a file that others write."""

import mmap
import struct
import time
from pathlib import Path
from typing import Final

_FORM: Final = struct.Struct("<q")


class JumpingClock:
    """See :class:`service.ports.Clock`. What never jumps on a real machine does not here either."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as handle:
            self._offset = mmap.mmap(handle.fileno(), _FORM.size, access=mmap.ACCESS_READ)

    def now(self) -> int:
        """Milliseconds since 1970, give or take what the file says."""
        offset: int = _FORM.unpack_from(self._offset)[0]
        return time.time_ns() // 1_000_000 + offset

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()


def set_offset(file: Path, milliseconds: int) -> None:
    """Put every clock that reads ``file`` off by so much."""
    with file.open("r+b" if file.exists() else "w+b") as handle:
        handle.write(_FORM.pack(milliseconds))
