"""Whether there are to be spans, as ``OTEL_*`` variables say, and what they go around."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from service import __version__
from service.runtime.wiring import OUTSIDE, Journey, Outside

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

#: Where exporters send to: one of these asks for spans.
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_HTTP: Final = "http/protobuf"

_log: Final = logging.getLogger("ringback")


class Traced(Outside):
    """The world as it is, with spans around what events meet in it."""

    def __init__(self, tracing: "Tracing") -> None:
        self._tracing = tracing

    def journey(self, journey: Journey) -> Journey:
        """The same with spans."""
        from service.telemetry.spans import TracedAccept, TracedSender  # noqa: PLC0415  only here

        return journey._replace(
            accept=TracedAccept(journey.accept, self._tracing),
            sender=TracedSender(journey.sender, self._tracing),
        )

    def app(self, app: Any) -> Any:  # noqa: ANN401  what uvicorn takes
        """The same with spans."""
        from service.telemetry.spans import TracedApp  # noqa: PLC0415  only here

        return TracedApp(app, self._tracing)


@asynccontextmanager
async def traced(environ: Mapping[str, str]) -> AsyncIterator[Outside]:
    """The world with spans where they are wanted and can be had; at the end they are exported."""
    tracing = _opened(environ)
    if tracing is None:
        yield OUTSIDE
        return
    try:
        yield Traced(tracing)
    finally:
        await asyncio.to_thread(tracing.close)


def exporter(environ: Mapping[str, str]) -> str | None:
    """The exporter that the variables ask for; ``None``: they ask for no spans."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = environ.get(_EXPORTER, "").strip()
    if not named and any(environ.get(name, "").strip() for name in _ENDPOINTS):
        return "otlp"
    return None if named in ("", "none") else named


def fault(environ: Mapping[str, str], wanted: str) -> str | None:
    """Why what is asked for cannot be had; ``None``, if it can."""
    if wanted not in ("otlp", "console"):
        return f"{_EXPORTER} is {wanted!r}; there are otlp, console and none"
    protocol = next(filter(None, map(environ.get, _PROTOCOLS)), _HTTP)
    if wanted == "otlp" and protocol != _HTTP:
        return f"the protocol {protocol!r} is not there; use {_HTTP}, mostly on port 4318"
    return None


def _opened(environ: Mapping[str, str]) -> "Tracing | None":
    """What makes spans. That there are none keeps nobody from being served."""
    wanted = exporter(environ)
    if wanted is None:
        return None
    why = fault(environ, wanted)
    if why is None:
        try:
            from service.telemetry.tracing import open_tracing  # noqa: PLC0415  an extra, and heavy

            return open_tracing(wanted, __version__)
        except ImportError as error:
            why = f"the extra is not installed ({error.name}): pip install '.[otel]'"
        except ValueError as error:
            why = str(error)
    _log.warning("There will be no traces: %s", why)
    return None
