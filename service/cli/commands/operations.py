"""`ringback operation`: where jobs are."""

from typing import Annotated, Any, Final

import typer

from service.cli import inputs, progress, shown
from service.cli.asking import Yes, confirm
from service.cli.client import Connected, named
from service.cli.commanding import command, group
from service.cli.render import Printed, say

app = group("operation", "Where jobs are, and how they ended.")
Json = Any

_PATH: Final = "/v1/operations"
_ONE: Final = f"{_PATH}/{{}}"

Name = Annotated[str, typer.Argument(metavar="ID")]


@command(app, "list", "ringback operation list --status FAILED --since 1d")
def list_operations(  # noqa: PLR0913  an argument is an option of the command line here
    api: Connected,
    out: Printed,
    *,
    status: Annotated[str | None, typer.Option(help="PENDING, PROCESSING, FAILED, ...")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    client_job: Annotated[str | None, typer.Option(help="The client's own id.")] = None,
    created_after: Annotated[str | None, inputs.since()] = None,
    created_before: Annotated[str | None, inputs.since("--until")] = None,
    limit: inputs.Limit = 50,
) -> None:
    """List operations, newest first."""
    query = {
        "status": status,
        "type": kind,
        "clientJobId": client_job,
        "createdAfter": created_after,
        "createdBefore": created_before,
    }
    empty = "No operations. `ringback event send STARTED --operation job-1` begins one."
    out.cut(api.pages(_PATH, query, limit + 1), shown.OPERATION, empty, limit)


@command(app, "get", "ringback operation get job-1")
def get(name: Name, api: Connected, out: Printed) -> None:
    """Show one operation."""
    out.one(api.get(named(_ONE, name), {"redirect": False}), shown.OPERATION_CARD)


@command(app, "watch", "ringback operation watch job-1")
def watch(name: Name, api: Connected, out: Printed) -> None:
    """Follow an operation to its end.

    A progress bar on a terminal; elsewhere, and with -o jsonl, a line for each event. Exit code 1:
    it failed or was cancelled.
    """
    progress.watch(api, out, name)


@command(app, "retry", "ringback operation retry job-1")
def retry(name: Name, api: Connected, out: Printed) -> None:
    """Try a failed operation once more: a new one, or the same new one when asked again."""
    made = api.post(named(f"{_ONE}/retry", name))
    out.one(made, shown.OPERATION_CARD)
    say(f"Next: ringback operation watch {made['operationId']}")


@command(app, "cancel", "ringback operation cancel job-1 --reason 'not needed any more' --yes")
def cancel(
    name: Name,
    api: Connected,
    out: Printed,
    reason: Annotated[str | None, typer.Option(help="For the producer.")] = None,
    *,
    yes: Yes = False,
) -> None:
    """End an operation by hand; its producer's next event is refused."""
    confirm(f"Cancel the operation {name}?", yes=yes)
    body = {} if reason is None else {"reason": reason}
    out.one(api.post(named(f"{_ONE}/cancel", name), body), shown.OPERATION_CARD)
