"""`ringback subscription`: who gets what, where, and how it goes."""

from typing import Annotated, Any, Final

import typer

from service.cli import exact, inputs, shown
from service.cli.asking import Yes, confirm
from service.cli.client import Connected, named
from service.cli.commanding import Needs, command, group
from service.cli.exits import CommandError
from service.cli.render import Printed, say

app = group("subscription", "Who gets what, where, and how it goes.")
Json = Any
Body = dict[str, Json]

_PATH: Final = "/v1/subscriptions"
_ONE: Final = f"{_PATH}/{{}}"

Name = Annotated[str, typer.Argument(metavar="ID")]


def _fields(  # noqa: PLR0913  an argument is an option of the command line here
    *,
    events: Annotated[
        str | None, typer.Option(metavar="PATTERNS", help="Types, such as COMPLETED,invoice.*")
    ] = None,
    operation_types: Annotated[
        str | None, typer.Option(metavar="PATTERNS", help="Only of operations of these types.")
    ] = None,
    operation: Annotated[str | None, typer.Option(help="Only of this operation.")] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'name: value'; may be repeated.")
    ] = None,
    payload: Annotated[str | None, typer.Option(help="full or thin.")] = None,
    ordering: Annotated[str | None, typer.Option(help="none or operation.")] = None,
    signing: Annotated[str | None, typer.Option(help="hmac, ed25519 or both.")] = None,
    retry_schedule: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Before each attempt, as 0,5,300.")
    ] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="Sends at once.")] = None,
    rate: Annotated[float | None, typer.Option(help="Deliveries per second at most.")] = None,
    more: Annotated[
        Json, inputs.as_json("Any members as the API has them; also @FILE, or - for stdin.")
    ] = None,
) -> Body:
    """The members of a subscription that options give."""
    given = {
        "eventTypes": inputs.words(events),
        "operationTypes": inputs.words(operation_types),
        "operationId": operation,
        "description": description,
        "headers": inputs.pairs(header),
        "payload": payload,
        "ordering": ordering,
        "signing": signing,
        "retrySchedule": inputs.numbers("--retry-schedule", retry_schedule),
        "maxConcurrency": max_concurrency,
        "rateLimitPerSecond": None if rate is None else exact.Number(rate),
    }
    if not isinstance(more, dict | None):
        raise typer.BadParameter("--more must be a JSON object")
    return {**(more or {}), **{name: value for name, value in given.items() if value is not None}}


@command(app, "list", "ringback subscription list --status paused")
def list_subscriptions(
    api: Connected,
    out: Printed,
    status: Annotated[str | None, typer.Option(help="active, paused or disabled.")] = None,
    operation: Annotated[str | None, typer.Option(help="Of this operation.")] = None,
    limit: inputs.Limit = 50,
) -> None:
    """List subscriptions, newest first."""
    found = api.pages(_PATH, {"status": status, "operationId": operation}, limit + 1)
    empty = "No subscriptions. `ringback subscription create URL` makes one."
    out.cut(found, shown.SUBSCRIPTION, empty, limit)


@command(app, "get", "ringback subscription get sub_0653be4ce6e0000100000001")
def get(name: Name, api: Connected, out: Printed) -> None:
    """Show one subscription."""
    out.one(api.get(named(_ONE, name)), shown.SUBSCRIPTION_CARD)


@command(
    app,
    "create",
    "ringback subscription create https://example.com/hook --events 'COMPLETED,invoice.*'",
)
def create(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where to POST.")],
    api: Connected,
    out: Printed,
    fields: Annotated[Body, Needs(_fields)],
    secret: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of one's own; a good one is made without.")
    ] = None,
) -> None:
    """Subscribe a URL. The secret is shown this once."""
    own = {} if secret is None else {"secret": secret}
    made = api.post(_PATH, {**fields, **own, "url": target})
    out.one(made, shown.SUBSCRIPTION_CARD)
    say(f"Keep the secret. Next: ringback subscription test {made['id']}")


@command(app, "update", "ringback subscription update sub_1 --events '*' --max-concurrency 4")
def update(
    name: Name,
    api: Connected,
    out: Printed,
    fields: Annotated[Body, Needs(_fields)],
    target: Annotated[str | None, typer.Option("--to", metavar="URL", help="Its new URL.")] = None,
) -> None:
    """Change what is given, and leave the rest; a null in --more means the default."""
    body = fields if target is None else {**fields, "url": target}
    if not body:
        raise typer.BadParameter("nothing to change is given; --help lists what can be")
    changed = api.send("PATCH", named(_ONE, name), content=exact.dumps(body))
    out.one(changed, shown.SUBSCRIPTION_CARD)


@command(app, "pause", "ringback subscription pause sub_0653be4ce6e0000100000001")
def pause(name: Name, api: Connected, out: Printed) -> None:
    """Let deliveries be made and wait."""
    paused = api.post(named(f"{_ONE}/pause", name))
    out.done(f"{paused['id']} is {paused['status']}: deliveries wait.", paused)


@command(app, "resume", "ringback subscription resume sub_0653be4ce6e0000100000001")
def resume(name: Name, api: Connected, out: Printed) -> None:
    """Send again; also ends a hold, closes the circuit, enables what was disabled."""
    resumed = api.post(named(f"{_ONE}/resume", name))
    out.done(f"{resumed['id']} is {resumed['status']}.", resumed)


@command(app, "delete", "ringback subscription delete sub_0653be4ce6e0000100000001 --yes")
def delete(
    name: Name,
    api: Connected,
    out: Printed,
    *,
    yes: Yes = False,
) -> None:
    """Delete a subscription; what waited for it becomes dead letters."""
    found = api.get(named(_ONE, name))
    confirm(f"Delete {name}, to {found['url']}? What waits becomes dead letters.", yes=yes)
    api.send("DELETE", named(_ONE, name))
    out.done(f"{name} is deleted.", {"id": name, "deleted": True})


@command(app, "test", "ringback subscription test sub_0653be4ce6e0000100000001")
def test(name: Name, api: Connected, out: Printed) -> None:
    """Send one signed test event now. Exit code 1: the receiver did not take it."""
    attempt = api.post(named(f"{_ONE}/test", name))
    out.one(attempt, shown.TRIAL_CARD)
    if "errorClass" in attempt:
        raise CommandError(
            f"The receiver did not take it: {attempt.get('message', attempt['errorClass'])}",
            f"Mend it, then try again: ringback subscription test {name}",
        )


@command(
    app, "rotate-secret", "ringback subscription rotate-secret sub_1 --overlap-seconds 3600 --yes"
)
def rotate_secret(
    name: Name,
    api: Connected,
    out: Printed,
    overlap: Annotated[
        float, typer.Option("--overlap-seconds", min=0, help="How long both secrets sign.")
    ] = 86_400.0,
    *,
    yes: Yes = False,
) -> None:
    """Make a new secret. It is shown this once; the old one goes on signing for a while."""
    confirm(f"Make a new secret for {name}? The old one ends after {overlap:g} s.", yes=yes)
    body = {"overlapSeconds": exact.Number(overlap)}
    out.one(api.post(named(f"{_ONE}/rotate-secret", name), body), shown.SUBSCRIPTION_CARD)


@command(app, "secret", "ringback subscription secret sub_0653be4ce6e0000100000001")
def secret(name: Name, api: Connected, out: Printed) -> None:
    """Show the secrets that sign now; the audit log notes it."""
    revealed = api.get(named(f"{_ONE}/secret", name))
    out.listed(revealed["secrets"], shown.SECRET, "It has no secret.")


@command(app, "stats", "ringback subscription stats sub_0653be4ce6e0000100000001")
def stats(name: Name, api: Connected, out: Printed) -> None:
    """Show how its deliveries go."""
    out.one(api.get(named(f"{_ONE}/stats", name)), shown.STATS_CARD)
