"""`ringback listen`: a receiver on this machine, to see what arrives."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from service.cli import inputs
from service.cli.client import Api, Connected, named
from service.cli.commanding import command
from service.cli.exits import CommandError, Exit
from service.cli.interrupting import interruptible
from service.cli.render import Printed, say
from service.domain.signature import new_secret

_SUBSCRIPTIONS: Final = "/v1/subscriptions"
_SECRET_BYTES: Final = 32
_FORWARD_SECONDS: Final = 15.0
_LARGEST_PORT: Final = 65_535


def add_to(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    example = (
        "ringback listen --subscribe --events 'COMPLETED,FAILED'\n"
        "ringback listen --port 9000 --secret whsec_... --forward 3000 --fail-first 2"
    )
    command(app, "listen", example)(listen)


def listen(  # noqa: PLR0913  an argument is an option of the command line here
    api: Connected,
    out: Printed,
    *,
    port: Annotated[int, typer.Option(min=0, max=_LARGEST_PORT, help="0: any free one.")] = 0,
    secret: Annotated[
        str | None,
        typer.Option(envvar="WEBHOOK_SECRET", help="The subscription's; verifies signatures."),
    ] = None,
    subscribe: Annotated[
        bool, typer.Option("--subscribe", help="Make a subscription, removed at the end.")
    ] = False,
    events: Annotated[
        str, typer.Option(metavar="PATTERNS", help="What --subscribe subscribes to.")
    ] = "*",
    forward: Annotated[
        str | None,
        typer.Option(metavar="PORT|URL", help="Pass each on, and answer what that answers."),
    ] = None,
    fail_first: Annotated[
        int, typer.Option(min=0, metavar="N", help="Answer 500 to the first N.")
    ] = 0,
    status: Annotated[int, typer.Option(min=200, max=599, help="What to answer.")] = 204,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many; else with Ctrl-C.")
    ] = None,
) -> None:
    """Receive, verify and print deliveries on this machine.

    With -o jsonl each has its headers and its body. What does not verify is answered 401.
    """
    import httpx

    from service.cli.listener import COLUMNS, Listener, Manner
    from service.cli.receiving import serving

    if subscribe and secret is None:
        secret = new_secret(os.urandom(_SECRET_BYTES))
    checked = None if secret is None else inputs.secret(secret)
    manner = Manner(checked, status, fail_first, _target(forward))
    with ExitStack() as opened:
        opened.enter_context(interruptible())
        client = opened.enter_context(httpx.Client(timeout=_FORWARD_SECONDS, trust_env=False))
        try:
            server = Listener(port, manner, client)
        except OSError as error:
            raise _not_listening(port, error) from None
        opened.enter_context(serving(server))
        url = f"http://{server.address}/"
        say(f"Listening on {url} - Ctrl-C ends it.")
        if subscribe:
            opened.enter_context(_subscribed(api, url, secret, events))
        elif secret is None:
            say("No --secret is given: signatures are not checked.")
        for _ in range(count) if count else repeat(None):
            out.line(server.next(), COLUMNS)


@contextmanager
def _subscribed(api: Api, url: str, secret: str | None, events: str) -> Iterator[None]:
    """A subscription of our own, for as long as we listen."""
    body = {
        "url": url,
        "secret": secret,
        "eventTypes": inputs.words(events),
        "description": "ringback listen",
    }
    try:
        made = api.post(_SUBSCRIPTIONS, body)
    except CommandError as error:
        if error.code is not Exit.MISUSE:
            raise
        advice = (
            "A service started with `make run` allows receivers on this machine; others need "
            f"RINGBACK_ALLOW_HTTP=true and RINGBACK_ALLOW_TARGETS={urlsplit(url).netloc}."
        )
        raise CommandError(str(error), advice, error.code) from None
    try:
        say(f"Subscribed: {made['id']}. It is removed at the end.")
        yield
    finally:
        _remove(api, made["id"])


def _remove(api: Api, name: str) -> None:
    """Delete our subscription; where that fails, say how to do it later."""
    try:
        api.send("DELETE", named(f"{_SUBSCRIPTIONS}/{{}}", name))
    except CommandError as error:
        say(f"{name} is not removed: {error} Later: ringback subscription delete {name} --yes")
    else:
        say(f"Removed {name}.")


def _target(forward: str | None) -> str | None:
    """Where to pass deliveries on to."""
    if forward is None:
        return None
    url = f"http://127.0.0.1:{forward}/" if forward.isdecimal() else forward
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise typer.BadParameter(
            "give a port of this machine, or an http:// or https:// URL", param_hint="--forward"
        )
    return url


def _not_listening(port: int, error: OSError) -> CommandError:
    return CommandError(
        f"Cannot listen on port {port}: {error.strerror or error}.",
        "Give another --port, or none for any free one.",
        Exit.CONFLICT if error.errno == errno.EADDRINUSE else Exit.FAILURE,
    )
