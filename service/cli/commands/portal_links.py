"""`ringback portal-link`: links that let a producer's users into the consumer portal."""

from typing import Annotated, Final

import typer

from service.cli import exact, inputs, shown
from service.cli.asking import Yes, confirm
from service.cli.client import Connected, named
from service.cli.commanding import command, group
from service.cli.render import Printed, say

app = group("portal-link", "Links that let your users into the consumer portal.")

_PATH: Final = "/v1/portal-links"
_ONE: Final = f"{_PATH}/{{}}"

Name = Annotated[str, typer.Argument(metavar="ID")]


@command(
    app, "create", "ringback portal-link create --tenant acme --subscription sub_1 --ttl-seconds 60"
)
def create(
    api: Connected,
    out: Printed,
    subscription: Annotated[
        str | None, typer.Option(help="Only this one; without it everything of the tenant.")
    ] = None,
    scopes: Annotated[
        str | None,
        typer.Option(help="A comma list; without it to read, change subscriptions and replay."),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option("--ttl-seconds", min=1, help="Until when it must be opened; 300 if not said."),
    ] = None,
    session: Annotated[
        float | None,
        typer.Option("--session-seconds", min=60, help="How long who opens it stays; 3600."),
    ] = None,
) -> None:
    """Make a link into the portal. Its address is shown this once."""
    given = {
        "subscriptionId": subscription,
        "scopes": inputs.words(scopes),
        "ttlSeconds": None if ttl is None else exact.Number(ttl),
        "sessionSeconds": None if session is None else exact.Number(session),
    }
    body = {name: value for name, value in given.items() if value is not None}
    made = api.post(_PATH, body)
    out.one(made, shown.PORTAL_LINK_CARD)
    say(
        "Hand it on at once: whoever opens it first is in. Should it get into the wrong hands: "
        f"ringback portal-link revoke {made['id']} --tenant {made['tenantId']}"
    )


@command(app, "revoke", "ringback portal-link revoke pl_0653be4ce6e000016a41976f --yes")
def revoke(
    name: Name,
    api: Connected,
    out: Printed,
    *,
    yes: Yes = False,
) -> None:
    """End a link and the session that it opened, at once.

    The audit log has the ids of links (portal_link.created). Name the tenant it was made for.
    """
    confirm(f"Revoke {name}? Whoever came in by it is out.", yes=yes)
    api.send("DELETE", named(_ONE, name))
    out.done(f"{name} is revoked.", {"id": name, "revoked": True})
