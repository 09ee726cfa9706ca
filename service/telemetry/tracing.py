"""Spans by OpenTelemetry, of what an event meets: taken in, committed, each attempt to deliver it.

This file is imported only where spans are wanted; nothing else here knows the library. The spans of
one event hang together by the ``traceparent`` that its row has, however much later and in whichever
process an attempt is made. An attempt's span has the id that its receiver was told.
"""

import os
from collections.abc import Mapping
from threading import Thread
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from service.domain.trace import Place

_NAME: Final = "ringback"
#: Seconds for the last spans to be exported.
_PATIENCE: Final = 3.0
_EXPORTERS: Final[Mapping[str, type[SpanExporter]]] = {
    "otlp": OTLPSpanExporter,
    "console": ConsoleSpanExporter,
}


class Ids(RandomIdGenerator):
    """Ids by chance, but for a span whose ids were told to somebody before it begins."""

    def __init__(self) -> None:
        self.told: Place | None = None

    def generate_span_id(self) -> int:
        """The id of the span that begins."""
        return super().generate_span_id() if self.told is None else self.told.span

    def generate_trace_id(self) -> int:
        """The id of the trace that begins."""
        return super().generate_trace_id() if self.told is None else self.told.trace


class Tracing:
    """What makes spans in a process, and exports them in a thread of its own."""

    def __init__(
        self, provider: TracerProvider, exporter: SpanExporter, ids: Ids, version: str
    ) -> None:
        self._provider = provider
        self._exporter = exporter
        self.ids = ids
        self.tracer: Tracer = provider.get_tracer(_NAME, version)

    def close(self) -> None:
        """Export what is left, without waiting long for that; to be called in a thread."""
        exporting = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        exporting.start()
        exporting.join(_PATIENCE)
        if exporting.is_alive():
            self._exporter.shutdown()  # which ends its waiting to try again
            exporting.join(_PATIENCE)


def open_tracing(exporter: str, version: str) -> Tracing:
    """Spans by the exporter of that name; all else is as the ``OTEL_*`` variables say.

    Raises:
        ValueError: these variables do not say anything that can be done.
    """
    ids = Ids()
    provider = TracerProvider(resource=_resource(version), id_generator=ids, shutdown_on_exit=False)
    opened = _EXPORTERS[exporter]()
    provider.add_span_processor(BatchSpanProcessor(opened))
    return Tracing(provider, opened, ids, version)


def _resource(version: str) -> Resource:
    own = {"service.version": version, "service.instance.id": str(uuid4())}
    if not is_named(os.environ):
        own["service.name"] = _NAME
    return Resource.create(own)


def is_named(environ: Mapping[str, str]) -> bool:
    """Whether the service has been given a name of its own."""
    attributes = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return "OTEL_SERVICE_NAME" in environ or "service.name=" in attributes
