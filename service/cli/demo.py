"""`ringback demo`: delivery, retry, dead letter and replay, each seen to happen.

The service is the real one, started as a process of its own on a folder that is thrown away; the
receiver is the demo's. Nothing is shown that did not arrive, and the demo fails when anything is
not as it should be.
"""

from contextlib import ExitStack
from typing import Final

import httpx

from service import __version__
from service.cli.demo_receiver import listening
from service.cli.demo_screen import Screen
from service.cli.demo_service import DemoError, running
from service.cli.demo_story import Story
from service.cli.exits import Exit
from service.cli.interrupting import interruptible

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
        with interruptible():
            _show(screen)
    except KeyboardInterrupt:
        screen.stopped()
        return Exit.INTERRUPTED
    except (DemoError, httpx.HTTPError, OSError) as error:
        screen.failed(str(error) or type(error).__name__)
        return Exit.FAILURE
    screen.advice("Next, with a receiver of your own (the README has one to copy)", NEXT)
    return Exit.OK


def _show(screen: Screen) -> None:
    screen.title(__version__)
    with listening() as receiver, ExitStack() as opened:
        with screen.waiting("starting the service"):
            api = opened.enter_context(running(receiver.address))
        screen.fact("service", api.base, f"ready after {screen.seconds:.1f} s")
        screen.fact("receiver", f"http://{receiver.address}", "verifies, then answers")
        Story(screen, api, receiver).tell()
