"""`ringback replay`: send again what was not delivered since a time."""

from typing import Annotated, Final

import typer

from service.cli import exact, inputs, replaying
from service.cli.asking import Yes
from service.cli.client import Api, Connected, named
from service.cli.commanding import command
from service.cli.exits import CommandError, Exit
from service.cli.render import Printed

_CHOICES: Final = ("dead", "missing", "all")

Rate = Annotated[
    float | None, typer.Option(min=0.1, max=10_000, help="Deliveries per second at most.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many.")]


def add_to(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    example = (
        "ringback replay --since 2h --dry-run\n"
        "ringback replay --since 2026-01-31T12:00:00Z --subscription sub_1 --rate 50 --yes"
    )
    command(app, "replay", example)(replay)


def replay(  # noqa: PLR0913  an argument is an option of the command line here
    api: Connected,
    out: Printed,
    since: Annotated[str, inputs.since()],
    *,
    until: Annotated[str | None, inputs.since("--until")] = None,
    subscription: Annotated[str | None, typer.Option(help="To this subscription only.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only of this type of event.")] = None,
    only: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="dead: open dead letters. With --subscription also missing: what matches and "
            "never had a delivery; all: delivered ones too.",
        ),
    ] = "dead",
    rate: Rate = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Send again what was not delivered since a time.

    How many that are is counted first, and asked about.
    """
    if only not in _CHOICES:
        raise typer.BadParameter(f"--only is one of {', '.join(_CHOICES)}")
    if subscription is None and only != "dead":
        raise typer.BadParameter(f"--only {only} needs --subscription")
    body: dict[str, object] = {"since": since}
    if until is not None:
        body["until"] = until
    if rate is not None:
        body["ratePerSecond"] = exact.Number(rate)
    if subscription is None:
        path = "/v1/dead-letters/replay"
        body |= {} if kind is None else {"eventType": kind}
    else:
        path = named("/v1/subscriptions/{}/replay", subscription)
        body |= {"only": only} | ({} if kind is None else {"eventTypes": inputs.words(kind)})
    count = replaying.run(api, out, path, body, dry_run=dry_run, yes=yes)
    if subscription is not None and only != "dead" and not count:
        _check_enabled(api, subscription)


def _check_enabled(api: Api, name: str) -> None:
    """What is disabled matches nothing: that nothing is missing then means nothing."""
    try:
        status = api.get(named("/v1/subscriptions/{}", name))["status"]
    except CommandError as error:
        if error.code is Exit.DENIED:  # a key may replay and not read
            return
        raise
    if status == "disabled":
        raise CommandError(
            f"{name} is disabled, and gets nothing.",
            f"Enable it with `ringback subscription resume {name}`, then replay.",
            Exit.CONFLICT,
        )
