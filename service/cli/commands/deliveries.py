"""`ringback delivery`: where each event is on its way to each subscription."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Final

import typer

from service.cli import copying, inputs, several, shown
from service.cli.asking import Yes, confirm
from service.cli.client import Api, Connected, named
from service.cli.commanding import Needs, command, group
from service.cli.exits import CommandError, Exit
from service.cli.following import Patience
from service.cli.render import Form, Printed, say
from service.domain import times

app = group("delivery", "Where each event is on its way to each subscription.")
Json = Any

_PATH: Final = "/v1/deliveries"
_ONE: Final = f"{_PATH}/{{}}"
_OPEN: Final = frozenset({"pending", "delivering"})
_LOOK_EVERY: Final = 1.0
#: Deliveries read in one look.
_MOST: Final = 2_000

Name = Annotated[str, typer.Argument(metavar="ID")]
Names = Annotated[list[str], typer.Argument(metavar="ID")]


def _filter(
    status: Annotated[
        str | None, typer.Option(help="pending, delivering, delivered, dead or cancelled.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="To this subscription.")] = None,
    operation: Annotated[str | None, typer.Option(help="Of this operation.")] = None,
    event: Annotated[str | None, typer.Option(help="Of this event.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Of this type of event.")] = None,
) -> dict[str, str | None]:
    """Which deliveries."""
    return {
        "status": status,
        "subscriptionId": subscription,
        "operationId": operation,
        "eventId": event,
        "eventType": kind,
    }


@command(app, "list", "ringback delivery list --status dead --since 2h")
def list_deliveries(
    api: Connected,
    out: Printed,
    query: Annotated[dict[str, str | None], Needs(_filter)],
    since: Annotated[str | None, inputs.since()] = None,
    until: Annotated[str | None, inputs.since("--until")] = None,
    limit: inputs.Limit = 50,
) -> None:
    """List deliveries, newest event first."""
    found = api.pages(_PATH, {**query, "since": since, "until": until}, limit + 1)
    empty = "No deliveries. `ringback listen --subscribe` makes a subscription to try with."
    out.cut(found, shown.DELIVERY, empty, limit)


@command(app, "get", "ringback delivery get dlv_0653be4ce6e0000100000001")
def get(name: Name, api: Connected, out: Printed) -> None:
    """Show one delivery with every attempt."""
    delivery = api.get(named(_ONE, name))
    out.one(delivery, shown.DELIVERY_CARD)
    if out.form is Form.TABLE:
        out.listed(delivery["attempts"], shown.ATTEMPT, "It has not been attempted yet.")


@command(app, "tail", "ringback delivery tail --subscription sub_0653be4ce6e0000100000001")
def tail(
    api: Connected,
    out: Printed,
    query: Annotated[dict[str, str | None], Needs(_filter)],
    since: Annotated[str | None, inputs.since()] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many lines; else with Ctrl-C.")
    ] = None,
) -> None:
    """Print deliveries as they move: a line for each new status and attempt.

    It looks once a second, so what moves twice within one may show once.
    """
    begin = times.render(round(time.time() * 1000)) if since is None else since
    say("Waiting for deliveries. Ctrl-C ends it.")
    for delivery in islice(_moves(api, query, begin), count):
        out.line(delivery, shown.DELIVERY)


@command(
    app,
    "curl",
    "ringback delivery curl dlv_0653be4ce6e0000100000001\n"
    "ringback delivery curl dlv_0653be4ce6e0000100000001 --signed | sh",
)
def curl(
    name: Name,
    api: Connected,
    *,
    signed: Annotated[
        bool, typer.Option("--signed", help="Sign it anew; the audit log notes the reveal.")
    ] = False,
) -> None:
    """Print the request of the last attempt as a curl command.

    It holds no secrets and no signatures, unless --signed makes fresh ones: who has a signature
    and its body can pass for the service for five minutes, and longer where only the body counts.
    """
    delivery = api.get(named(_ONE, name))
    attempt = next((each for each in reversed(delivery["attempts"]) if "request" in each), None)
    if attempt is None:
        raise CommandError(
            "There is no request to copy: it has not been attempted yet.",
            f"`ringback delivery get {name}` says when it will be.",
            Exit.CONFLICT,
        )
    signing = _signing(api, delivery["subscriptionId"]) if signed else None
    copy = copying.curl(
        attempt["url"], attempt["request"]["headers"], _body(api, delivery), signing
    )
    typer.echo(copy.command)
    if copy.without:
        say(f"Left out: {', '.join(copy.without)}. --signed makes fresh ones.")
    if copy.masked:
        say(f"Put in what only you know: {', '.join(copy.masked)}.")


@command(app, "retry", "ringback delivery retry dlv_0653be4ce6e0000100000001")
def retry(names: Names, api: Connected, out: Printed) -> None:
    """Send deliveries now, whatever their schedule says."""

    def again(name: str) -> None:
        answer = api.post(named(f"{_ONE}/retry", name))
        out.done(f"{answer['deliveryId']} is sent again.", answer)

    several.each(names, again)


@command(app, "cancel", "ringback delivery cancel dlv_0653be4ce6e0000100000001 --yes")
def cancel(
    names: Names,
    api: Connected,
    out: Printed,
    *,
    yes: Yes = False,
) -> None:
    """Take deliveries that wait out of the queue; they are not sent."""
    confirm(f"Cancel {len(names)} deliveries?" if names[1:] else f"Cancel {names[0]}?", yes=yes)

    def one(name: str) -> None:
        answer = api.post(named(f"{_ONE}/cancel", name))
        out.done(f"{answer['id']} is {answer['status']}.", answer)

    several.each(names, one)


def _moves(api: Api, query: dict[str, str | None], since: str) -> Iterator[Json]:
    """Deliveries of events since a time, each whenever its status or its attempts have changed."""
    known: dict[str, tuple[str, str]] = {}
    patience = Patience()
    while True:
        try:
            found = list(api.pages(_PATH, {**query, "since": since}, _MOST))
        except CommandError as error:
            patience.pause(error)
            continue
        patience.there()
        for delivery in reversed(found):
            state = (delivery["status"], delivery["attemptCount"])
            if known.get(delivery["id"]) != state:
                known[delivery["id"]] = state
                yield delivery
        moving = [each["createdAt"] for each in found if each["status"] in _OPEN]
        # what is finished and older than all that moves need not be read again
        since = min([*moving, found[0]["createdAt"]]) if found else since
        time.sleep(_LOOK_EVERY)


def _signing(api: Api, subscription: str) -> copying.Signing:
    secret = api.get(named("/v1/subscriptions/{}/secret", subscription))["secret"]
    return copying.Signing(secret, int(time.time()))


def _body(api: Api, delivery: Json) -> str:
    """What was sent, to the byte."""
    event = api.text(named("/v1/events/{}", delivery["eventId"]))
    try:
        subscription = api.get(named("/v1/subscriptions/{}", delivery["subscriptionId"]))
    except CommandError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        say("The subscription is gone; where it got thin payloads, this is the whole event.")
        return event
    return _thin(api, delivery, event) if subscription["payload"] == "thin" else event


def _thin(api: Api, delivery: Json, event: str) -> str:
    """The thin payload of an event, made as the service makes it."""
    from service.domain.request import thin

    # the address that receivers know the service by, which may not be the one used here
    public = api.get("/openapi.json")["servers"][0]["url"]
    return thin(event.encode(), f"{public}/v1/events/{delivery['eventId']}").decode()
