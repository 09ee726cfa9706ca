"""`ringback health`: whether a service is there and ready."""

from typing import Final

import typer

from service.cli.client import Connected
from service.cli.commanding import command
from service.cli.exits import CommandError, Exit
from service.cli.render import Column, Printed

_COLUMNS: Final = (Column("service", "url"), Column("live", "live"), Column("ready", "ready"))


def add_to(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    command(app, "health", "ringback health --url http://127.0.0.1:8080")(health)


def health(api: Connected, out: Printed) -> None:
    """Ask a service whether it lives and is ready. Exit code 6: it is not. It needs no key."""
    api.get("/livez")
    try:
        api.get("/readyz")
    except CommandError as error:
        out.one({"url": api.url, "live": "ok", "ready": str(error)}, _COLUMNS)
        advice = "What it lacks is named; `ringback doctor` looks from where the service runs."
        raise CommandError("It is not ready.", advice, Exit.UNAVAILABLE) from None
    out.one({"url": api.url, "live": "ok", "ready": "ok"}, _COLUMNS)
