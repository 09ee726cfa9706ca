"""`ringback key`: who may do what."""

from typing import Annotated, Final

import typer

from service.cli import exact, inputs, shown
from service.cli.asking import Yes, confirm
from service.cli.client import Connected, named
from service.cli.commanding import command, group
from service.cli.render import Printed, say

app = group("key", "Who may do what: API keys.")

_PATH: Final = "/v1/api-keys"
_ONE: Final = f"{_PATH}/{{}}"

Name = Annotated[str, typer.Argument(metavar="ID")]


@command(app, "list", "ringback key list --of acme")
def list_keys(
    api: Connected,
    out: Printed,
    of: Annotated[str | None, typer.Option(metavar="TENANT", help="Of this tenant.")] = None,
    limit: inputs.Limit = 50,
) -> None:
    """List keys, never their texts."""
    found = api.pages(_PATH, {"tenantId": of}, limit + 1)
    empty = "No keys. `ringback key create NAME --scopes ...` makes one."
    out.cut(found, shown.KEY, empty, limit)


@command(app, "create", "ringback key create 'nightly jobs' --scopes events:write,operations:read")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.")],
    api: Connected,
    out: Printed,
    scopes: Annotated[
        str, typer.Option(help="A comma list, such as events:write,operations:read.")
    ],
    of: Annotated[str, typer.Option(metavar="TENANT", help="For this tenant.")] = "default",
    expires: Annotated[str | None, inputs.until("--expires")] = None,
) -> None:
    """Make a key. It is shown this once."""
    body = {"tenantId": of, "name": name, "scopes": inputs.words(scopes)}
    made = api.post(_PATH, body if expires is None else {**body, "expiresAt": expires})
    out.one(made, shown.KEY_CARD)
    say("Keep the key: only a hash of it is stored. RINGBACK_API_KEY is where this command looks.")


@command(app, "rotate", "ringback key rotate key_1 --overlap-seconds 3600 --yes")
def rotate(
    name: Name,
    api: Connected,
    out: Printed,
    overlap: Annotated[
        float, typer.Option("--overlap-seconds", min=0, help="How long the old text is good too.")
    ] = 0.0,
    *,
    yes: Yes = False,
) -> None:
    """Give a key another text. It is shown this once; id, tenant and scopes stay."""
    found = api.get(named(_ONE, name))
    confirm(f"Rotate {name}, {found['name']!r}? Its text ends after {overlap:g} s.", yes=yes)
    body = {"overlapSeconds": exact.Number(overlap)}
    out.one(api.post(named(f"{_ONE}/rotate", name), body), shown.KEY_CARD)
    say("Keep the key: only a hash of it is stored.")


@command(app, "revoke", "ringback key revoke key_0653be4ce6e000016a41976f --yes")
def revoke(
    name: Name,
    api: Connected,
    out: Printed,
    *,
    yes: Yes = False,
) -> None:
    """End a key for good, at once and everywhere."""
    found = api.get(named(_ONE, name))
    confirm(f"Revoke {name}, {found['name']!r} of {found['tenantId']}?", yes=yes)
    api.send("DELETE", named(_ONE, name))
    out.done(f"{name} is revoked.", {"id": name, "revoked": True})
