"""`ringback demo`: delivery, retry, dead letter and replay, each seen to happen.

The service is the real one, started as a process of its own on a folder that is thrown away; the
receiver is the demo's. Nothing is shown that did not arrive, and the demo fails when anything is
not as it should be.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import httpx

from service import __version__
from service.cli.demo_receiver import listening
from service.cli.demo_screen import Screen
from service.cli.demo_service import DemoError, running
from service.cli.demo_story import Story

_INTERRUPTED: Final = 130  # as shells count a program that Ctrl-C ended

#: What to do next, to be copied; the README has the same lines.
NEXT: Final = (
    "make run",
    "",
    "KEY=$(cat data/admin.key)",
    'curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\',
    '  -d \'{"url": "http://127.0.0.1:9000/hook"}\' \\',
    "  http://127.0.0.1:8080/v1/subscriptions",
    'curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\',
    '  -d \'{"operationId": "job-1", "type": "COMPLETED"}\' \\',
    "  http://127.0.0.1:8080/v1/events",
)


def run() -> int:
    """Show it all; 0 only when everything was seen."""
    screen = Screen()
    try:
        with _interruptible():
            _show(screen)
    except KeyboardInterrupt:
        screen.stopped()
        return _INTERRUPTED
    except (DemoError, httpx.HTTPError, OSError) as error:
        screen.failed(str(error) or type(error).__name__)
        return 1
    screen.advice("Next, with a receiver of your own (the README has one to copy)", NEXT)
    return 0


def _show(screen: Screen) -> None:
    screen.title(__version__)
    with listening() as receiver, ExitStack() as opened:
        with screen.waiting("starting the service"):
            api = opened.enter_context(running(receiver.address))
        screen.fact("service", api.base, f"ready after {screen.seconds:.1f} s")
        screen.fact("receiver", f"http://{receiver.address}", "verifies, then answers")
        Story(screen, api, receiver).tell()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let what asks a program to end do so the way Ctrl-C does: everything is put away first."""
    asked = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
