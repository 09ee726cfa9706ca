"""The subcommands, each one call into the service, and what people see when one fails."""

import errno
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from service import __version__
from service.cli import exits
from service.cli.commanding import epilog
from service.cli.commands import (
    completion,
    dead_letters,
    deliveries,
    events,
    export,
    health,
    keys,
    listen,
    operations,
    portal_links,
    prune,
    replays,
    signatures,
    subscriptions,
)
from service.cli.exits import CommandError, Exit
from service.cli.render import Form, Out, say

if TYPE_CHECKING:
    from service.settings import Settings

_NAME = "ringback"
ROLES = ("api", "worker", "sweeper")

# The hook that prints decorated tracebacks is off: `main` says what failed, in a sentence.
app = typer.Typer(
    name=_NAME,
    help="Ringback delivers operation events as signed, retried webhooks.",
    epilog=exits.LEGEND,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: laying out boxes takes longer than everything else
)


class Output(StrEnum):
    """How a command prints."""

    TEXT = "text"
    JSON = "json"


@app.command(epilog=epilog("ringback serve\nringback serve --roles api,sweeper"))
def serve(
    roles: Annotated[
        str, typer.Option(help="What this process does: a comma list of api, worker, sweeper.")
    ] = ",".join(ROLES),
    status_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Answer /livez, /readyz and /metrics on this port too. Without the role api it is "
            "the only one that is listened on.",
        ),
    ] = None,
) -> None:
    """Start the service, in the foreground.

    SIGTERM and Ctrl-C stop it cleanly: it is no longer ready, claims nothing more, and lets what is
    in flight end.
    """
    chosen = _parse_roles(roles)
    settings = _load_settings()
    from service import runtime

    runtime.serve(settings, chosen, status_port)


@app.command(epilog=epilog("ringback migrate"))
def migrate() -> None:
    """Bring the database schema up to date."""
    settings = _load_settings()
    from service import runtime

    typer.echo(runtime.migrate(settings))


@app.command(epilog=epilog("ringback rekey"))
def rekey() -> None:
    """Encrypt stored secrets with the newest key.

    That is the first of RINGBACK_ENCRYPTION_KEYS; the others may be dropped afterwards.
    """
    settings = _load_settings()
    from service import runtime

    typer.echo(f"{runtime.rekey(settings)} secrets now use the first key")


@app.command(epilog=epilog("ringback demo"))
def demo() -> None:
    """Show delivery, retry, dead letter and replay.

    Everything runs on a throw-away service with a receiver of its own.
    """
    from service.cli import demo as show

    raise typer.Exit(show.run())


class Mode(StrEnum):
    """What `ringback torture` does harm to."""

    EMBEDDED = "embedded"
    DISTRIBUTED = "distributed"


@app.command(epilog=epilog("ringback torture --quick --seed 7"))
def torture(  # noqa: PLR0913  an argument is an option of the command line here
    *,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help="One process on SQLite, the usual, or many on PostgreSQL and Redis. Failpoints "
            "take both unless one is named."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same plan.")] = 7,
    events: Annotated[
        int | None, typer.Option(min=20, help="Events to post; 50,000 if not given.")
    ] = None,
    kills: Annotated[
        int | None,
        typer.Option(min=0, help="Times to kill -9; other faults come in proportion. 200, or 100."),
    ] = None,
    without: Annotated[
        str, typer.Option(metavar="KINDS", help="A comma list of kinds of faults to leave out.")
    ] = "",
    duration: Annotated[
        float | None, typer.Option(help="Seconds after which no fault begins and nobody posts.")
    ] = None,
    failpoints: Annotated[
        bool,
        typer.Option("--failpoints", help="Fail at each step of the journey: a table."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="1,000 events, 6 kills, short faults.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output form.")] = Output.TEXT,
    keep: Annotated[Path | None, typer.Option(help="A folder to leave all logs in.")] = None,
) -> None:
    """Do the service harm under load, and count what was lost.

    Everything is started for it, on loopback, and ends with it. Exit code 1: a promise was broken.
    """
    from service.lab.torture import command

    try:
        plan = command.plan(
            mode or Mode.EMBEDDED, seed, (events, kills), without, quick=quick, duration=duration
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--without") from None
    as_json = output is Output.JSON
    if failpoints:
        modes = tuple(Mode) if mode is None else (mode,)
        raise typer.Exit(command.run_failpoints(modes, as_json=as_json, keep=keep))
    raise typer.Exit(command.run(plan, as_json=as_json, keep=keep))


@app.command(epilog=epilog("ringback bench --quick -o json"))
def bench(  # noqa: PLR0913  an argument is an option of the command line here
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Short windows and small stores: under 3 minutes.")
    ] = False,
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row, and what it needs; may be repeated.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(help="Only embedded or only distributed; both if left out."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="How long each load lasts; 60 if not quick.")
    ] = None,
    rounds: Annotated[int, typer.Option("--repeat", min=1, help="How often all of it.")] = 1,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output form.")] = Output.TEXT,
    scaling: Annotated[
        Path | None,
        typer.Option(help="Instead, what a delivery costs as things grow; the plot goes there."),
    ] = None,
) -> None:
    """Measure the service on this machine.

    It runs throw-away services, a receiver and a generator of its own.
    """
    from service.lab.bench import command
    from service.lab.bench.faults import BenchError

    plan = command.Plan(tuple(mode or ()), tuple(row or ()), quick, seconds, rounds, scaling)
    try:
        command.check(plan)
    except BenchError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(command.run(plan, as_json=output is Output.JSON))


@app.command(epilog=epilog("ringback config -o json"))
def config(
    form: Annotated[Form, typer.Option("--output", "-o", help="Output form.")] = Form.TABLE,
) -> None:
    """Show every setting and where it comes from.

    Secrets are masked. Piped, the lines are tab-separated.
    """
    settings = _load_settings()
    from service.runtime import keys as own_keys

    own_keys.present_key_ring(settings, database_existed=False)  # as the start reads it
    Out(form).records(settings.describe())


@app.command(epilog=epilog("ringback doctor"))
def doctor(
    form: Annotated[Form, typer.Option("--output", "-o", help="Output form.")] = Form.TABLE,
) -> None:
    """Look for what would keep the service from working.

    For each fault the remedy is told; nothing is changed. Exit code 1: there are faults.
    """
    from service.runtime.doctor import examine
    from service.runtime.findings import Finding, Level

    findings = examine(os.environ)
    Out(form).records(findings, needed=Finding._fields)
    if any(finding.level is Level.FAULT for finding in findings):
        raise typer.Exit(Exit.FAILURE)


@app.command(epilog=epilog("ringback openapi > openapi.json"))
def openapi() -> None:
    """Print the API's OpenAPI document.

    Nothing is started or opened for it.
    """
    settings = _load_settings()
    from service import api

    typer.echo(api.description(settings.public_url))


@app.command(epilog=epilog("ringback version"))
def version() -> None:
    """Show the version."""
    typer.echo(f"ringback {__version__}")


def _version_instead(wanted: bool) -> None:  # noqa: FBT001  typer's callback takes the value so
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _common(
    *,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version_instead, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    pass


for _noun in (events, operations, subscriptions, deliveries, dead_letters, keys, portal_links):
    app.add_typer(_noun.app)
for _verb in (listen, replays, signatures, health, export, prune, completion):
    _verb.add_to(app)


def main() -> None:
    """Run the command line; what its exit codes mean is in :class:`Exit`."""
    _open_streams()
    completion.prepare()
    try:
        app(prog_name=_NAME)
    except CommandError as error:
        say(f"ringback: {error}\n  {error.advice}")
        sys.exit(error.code)
    except Exception as error:  # noqa: BLE001 - people get a sentence, not a traceback
        _fail(error)


def _open_streams() -> None:
    """Give what was closed before the start (``>&-``) a place to go to.

    In their order: each takes the lowest free number, its own, which else the next file had.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            devnull = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115  open to the end
            setattr(sys, name, devnull)


def _fail(error: Exception) -> NoReturn:
    """Explain on stderr and exit; Python's development mode (`-X dev`) shows the traceback."""
    if sys.flags.dev_mode:
        raise error
    from service.lab.bench.faults import BenchError
    from service.ports import StoreUnavailableError
    from service.settings import SettingsError

    if isinstance(error, SettingsError | StoreUnavailableError | BenchError | OSError):
        say(f"ringback: {error}")
    else:
        kind = type(error).__name__
        where = "`python -X dev -m service` in its place shows where"
        say(f"ringback: unexpected {kind}: {error} ({where})")
    sys.exit(_code_of(error))


def _code_of(error: Exception) -> Exit:
    from service.ports import StoreInUseError
    from service.settings import SettingsError

    cause = error.__cause__
    is_port_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
    if isinstance(error, StoreInUseError) or is_port_taken:
        return Exit.CONFLICT
    return Exit.MISUSE if isinstance(error, SettingsError) else Exit.FAILURE


def _load_settings() -> "Settings":
    from service import settings

    return settings.load(os.environ)


def _parse_roles(text: str) -> frozenset[str]:
    chosen = frozenset(role.strip() for role in text.split(","))
    unknown = sorted(chosen.difference(ROLES))
    if unknown:
        raise typer.BadParameter(
            f"unknown: {', '.join(map(repr, unknown))}; allowed are {', '.join(ROLES)}",
            param_hint="--roles",
        )
    return chosen
