"""Logs: one line for each thing that happened, for people on a terminal and for machines."""

import logging
import os
import re
import sys
from typing import Final

import structlog

from service.domain.few import OF_STRANGERS, Few

#: Places of which it is known how often something was logged there in this second.
_PLACES: Final = 1_000
_ADDRESS: Final = re.compile("0x[0-9a-f]+")
#: What tells of happenings, each kind within a bound of its own.
_OURS: Final = "ringback"


class Bounded(logging.Filter):
    """Lets a few lines a second through of each place in the code, and tells how many more came.

    What is logged outside of :data:`_OURS` are faults and warnings, and requests bring them about.
    All that is reported to the event loop it logs in one place: their first lines tell them apart,
    without the addresses of objects in them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._few: dict[tuple[str, ...], Few] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        if record.name.partition(".")[0] == _OURS:
            return True
        first = record.getMessage().partition("\n")[0] if record.name == "asyncio" else ""
        what = _ADDRESS.sub("", first)
        place = (record.pathname, str(record.lineno), what)
        if place not in self._few and len(self._few) >= _PLACES:
            del self._few[next(iter(self._few))]
        untold = self._few.setdefault(place, Few(OF_STRANGERS)).through(record.created)
        if untold:
            record.untold = untold
        return untold is not None


def configure_logging() -> None:
    """Readable colours on a terminal, JSON lines otherwise; libraries' warnings go the same way.

    Tracebacks are without the values of variables: secrets and payloads are among them.
    """
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if not terminal else structlog.dev.set_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
        )
        if terminal
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(Bounded())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    logging.getLogger(_OURS).setLevel(logging.INFO)
