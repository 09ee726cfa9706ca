"""Whether there are spans: as the environment asks, and never at the cost of the service."""

import subprocess
import sys

import pytest

from service.runtime import tracing
from service.runtime.wiring import OUTSIDE
from tests.support.server import environment

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "hooks"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": URL}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": URL}, None),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": URL}, None),
    ],
)
def test_spans_are_made_where_the_environment_asks(
    environ: dict[str, str], wanted: str | None
) -> None:
    assert tracing.exporter(environ) == wanted


@pytest.mark.parametrize(
    ("environ", "wanted", "says"),
    [
        ({}, "otlp", None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp", None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "console", None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp", "http/protobuf"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "otlp",
            None,
        ),
        ({}, "zipkin", "there are otlp"),
    ],
)
def test_what_cannot_be_had_is_said(environ: dict[str, str], wanted: str, says: str | None) -> None:
    why = tracing.fault(environ, wanted)

    assert (why is None) == (says is None)
    assert says is None or says in str(why)


async def test_where_nothing_asks_the_world_is_as_it_is() -> None:
    async with tracing.traced({}) as outside:
        assert outside is OUTSIDE


def test_a_service_without_spans_loads_nothing_of_it() -> None:
    program = "import sys, service.runtime; print([m for m in sys.modules if 'telemetry.' in m])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment({}),
        capture_output=True,
        text=True,
        check=True,
    )

    assert "service.telemetry.metrics" in done.stdout
    assert "opentelemetry" not in done.stdout
    assert "service.telemetry.tracing" not in done.stdout
