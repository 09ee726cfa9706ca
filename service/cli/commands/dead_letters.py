"""`ringback dead-letter`: what could not be delivered, why, and sending it after all."""

from typing import Annotated, Any, Final

import typer

from service.cli import exact, inputs, replaying, several, shown
from service.cli.asking import Yes, confirm
from service.cli.client import Api, Connected, named
from service.cli.commanding import Needs, command, group
from service.cli.commands.replays import DryRun, Rate
from service.cli.render import Printed
from service.domain.delivery import DeadLetterState

app = group("dead-letter", "What could not be delivered, why, and sending it after all.")
Json = Any
Query = dict[str, str | None]

_PATH: Final = "/v1/dead-letters"
_ONE: Final = f"{_PATH}/{{}}"

Names = Annotated[list[str] | None, typer.Argument(metavar="ID")]
All = Annotated[bool, typer.Option("--all", help="Every open one, where nothing else selects.")]


def _filter(
    subscription: Annotated[str | None, typer.Option(help="Of this subscription.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Of this type of event.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="attempts_exhausted, gone, blocked_target, ...")
    ] = None,
    since: Annotated[str | None, inputs.since()] = None,
    until: Annotated[str | None, inputs.since("--until")] = None,
) -> Query:
    """Which dead letters."""
    return {
        "subscriptionId": subscription,
        "eventType": kind,
        "reason": reason,
        "since": since,
        "until": until,
    }


@command(app, "list", "ringback dead-letter list --reason attempts_exhausted --since 1d")
def list_dead_letters(
    api: Connected,
    out: Printed,
    query: Annotated[Query, Needs(_filter)],
    *,
    resolved: Annotated[
        bool | None, typer.Option("--resolved/--open", help="Only these; both if not given.")
    ] = None,
    limit: inputs.Limit = 50,
) -> None:
    """List dead letters, newest event first."""
    found = api.pages(_PATH, {**query, "resolved": resolved}, limit + 1)
    out.cut(found, shown.DEAD_LETTER, _none(query, resolved=resolved), limit)


@command(app, "get", "ringback dead-letter get dl_0653be4ce6e0000100000001")
def get(
    name: Annotated[str, typer.Argument(metavar="ID")],
    api: Connected,
    out: Printed,
) -> None:
    """Show one dead letter, and with -o json its event."""
    out.one(api.get(named(_ONE, name)), shown.DEAD_LETTER_CARD)


@command(app, "summary", "ringback dead-letter summary --since 1d")
def summary(
    api: Connected,
    out: Printed,
    query: Annotated[Query, Needs(_filter)],
) -> None:
    """Count open dead letters by subscription, reason and error."""
    counts = api.get(f"{_PATH}/summary", query)["data"]
    out.listed(counts, shown.SUMMARY, _none(query, resolved=False))


@command(
    app,
    "replay",
    "ringback dead-letter replay dl_0653be4ce6e0000100000001\n"
    "ringback dead-letter replay --reason attempts_exhausted --since 1d --rate 50 --dry-run",
)
def replay(  # noqa: PLR0913  an argument is an option of the command line here
    api: Connected,
    out: Printed,
    query: Annotated[Query, Needs(_filter)],
    names: Names = None,
    rate: Rate = None,
    *,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Send dead letters again: those named, or all that a filter selects."""
    _check_scope(names, query, everything=everything)
    if not names:
        body: dict[str, Json] = {name: value for name, value in query.items() if value is not None}
        if rate is not None:
            body["ratePerSecond"] = exact.Number(rate)
        replaying.run(api, out, f"{_PATH}/replay", body, dry_run=dry_run, yes=yes)
        return
    if dry_run or rate is not None:
        raise typer.BadParameter("--dry-run and --rate go with a filter, not with ids")

    def again(name: str) -> None:
        answer = api.post(named(f"{_ONE}/replay", name))
        out.done(f"{name}: {answer['deliveryId']} is sent again.", answer)

    several.each(names, again)


@command(
    app,
    "discard",
    "ringback dead-letter discard dl_0653be4ce6e0000100000001 --yes\n"
    "ringback dead-letter discard --subscription sub_1 --until 30d",
)
def discard(
    api: Connected,
    out: Printed,
    query: Annotated[Query, Needs(_filter)],
    names: Names = None,
    *,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Delete dead letters for good: those named, or all open ones that a filter selects."""
    _check_scope(names, query, everything=everything)
    chosen = names or _open(api, query)
    if not chosen:
        out.done("Nothing to discard.", {"discarded": 0})
        return
    what = f"{len(chosen)} dead letters" if chosen[1:] else chosen[0]
    confirm(f"Discard {what} for good?", yes=yes)

    def drop(name: str) -> None:
        api.send("DELETE", named(_ONE, name))
        out.done(f"{name} is discarded.", {"id": name, "discarded": True})

    several.each(chosen, drop)


def _none(query: Query, *, resolved: bool | None) -> str:
    """What an empty list says: of those that are gone it cannot tell what became of them."""
    if any(query.values()) or resolved:
        return f"No {'open ' if resolved is False else ''}dead letter is like this."
    return "There are no dead letters." if resolved is None else "No dead letters are open."


def _open(api: Api, query: Query) -> list[str]:
    """The ids of those that can be discarded; what is being replayed cannot."""
    found = api.pages(_PATH, {**query, "resolved": False}, None)
    return [each["id"] for each in found if each["state"] == DeadLetterState.OPEN]


def _check_scope(names: list[str] | None, query: Query, *, everything: bool) -> None:
    """What is meant must be said: nothing given is not everything."""
    has_filter = any(query.values())
    if names and (has_filter or everything):
        raise typer.BadParameter("give ids or a filter, not both")
    if not (names or has_filter or everything):
        raise typer.BadParameter("say which: ids, a filter such as --since 1d, or --all")
