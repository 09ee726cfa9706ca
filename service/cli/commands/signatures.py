"""`ringback sign` and `ringback verify`: signatures, without any service."""

import time
from typing import Annotated, Final

import typer

from service.cli import inputs, public_keys, verifying
from service.cli.commanding import command
from service.cli.exits import CommandError
from service.cli.render import Column, Form, Printed, write
from service.domain.signature import (
    SignatureFault,
    key_bytes,
    sign_body,
    sign_standard,
)

#: What to do where it was signed at another time than now, and where it is not what was signed.
_OF_TIME: Final = frozenset((SignatureFault.TOO_OLD, SignatureFault.TOO_NEW))
_LATE: Final = "Check the clocks; --now takes the time of receipt (unix seconds) of what was kept."
_HEADLESS: Final = (
    "Give all headers of the delivery as they came: --headers FILE, or -H 'name: value' for each."
)
_TIMELESS: Final = (
    "Give webhook-timestamp as it came: whole seconds since 1970, such as 1795235073."
)
_UNLIKE: Final = (
    "Check that it is this subscription's secret or public key (`ringback subscription "
    "secret ID`), and the body's raw bytes."
)
_LONGER: Final = (
    "Keep the body as it came, byte by byte: `printf %s` adds no line end, `echo` and most editors "
    "do."
)
_COLUMNS: Final = (
    Column("check", "check"),
    Column("verdict", "verdict"),
    Column("found", "found", is_text=True),
)

Secret = Annotated[
    str,
    typer.Option(envvar="WEBHOOK_SECRET", help="whsec_..., or any text; @FILE reads it."),
]
AnySecret = Annotated[
    str | None,
    typer.Option("--secret", envvar="WEBHOOK_SECRET", help="As of `ringback sign`."),
]
PublicKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--public-key", help="whpk_..., or a key set: @FILE or its address; may be repeated."
    ),
]
Body = Annotated[str, typer.Argument(metavar="FILE", help="The body, raw; - is stdin.")]


def add_to(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    command(app, "sign", "ringback sign body.json --secret @secret.txt --id evt_1")(sign)
    example = (
        "ringback verify body.json --secret @secret.txt --headers headers.txt\n"
        "ringback verify --secret whsec_... -H 'x-webhook-signature: sha256=...' < body.json\n"
        "ringback verify body.json --public-key whpk_... --headers headers.txt\n"
        "ringback verify body.json --headers headers.txt "
        "--public-key 'https://hooks.example/.well-known/jwks.json?subscriptionId=sub_1'"
    )
    command(app, "verify", example)(verify)


def sign(
    out: Printed,
    secret: Secret,
    body: Body = "-",
    message_id: Annotated[str, typer.Option("--id", help="The webhook-id.")] = "evt_test",
    at: Annotated[
        int | None, typer.Option("--timestamp", min=0, help="Unix seconds; now, if not given.")
    ] = None,
) -> None:
    """Print the headers that sign a body, as the service does."""
    if not message_id or not message_id.isascii() or not message_id.isprintable():
        raise typer.BadParameter("no header can hold that; give it in ASCII", param_hint="--id")
    key, sent = key_bytes(_read(secret)), inputs.read_bytes(body)
    moment = int(time.time()) if at is None else at
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": sign_standard([key], message_id, moment, sent),
        "x-webhook-signature": sign_body(key, sent),
    }
    if out.form is Form.TABLE:
        write("\n".join(f"{name}: {value}" for name, value in headers.items()))
    else:
        out.document(headers)


def verify(  # noqa: PLR0913  an argument is an option of the command line here
    out: Printed,
    secret: AnySecret = None,
    public_key: PublicKeys = None,
    body: Body = "-",
    *,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'name: value'; may be repeated.")
    ] = None,
    headers: Annotated[
        str | None, typer.Option(metavar="FILE", help="Headers, one on a line, as they came.")
    ] = None,
    at: Annotated[
        int | None, typer.Option("--now", min=0, help="Unix seconds to judge the age at.")
    ] = None,
) -> None:
    """Check a received delivery, and say which check failed.

    Either signature is enough; webhook-signature counts where both are there. Nothing is sent
    anywhere; a key set is fetched from its address. Exit code 1: it is not genuine.
    """
    if secret is None and not public_key:
        raise typer.BadParameter("give --secret, WEBHOOK_SECRET, or --public-key")
    secrets = [] if secret is None else [_read(secret)]
    by_key = public_keys.checkers(public_key or [])
    lines = [] if headers is None else _head(inputs.content(headers))
    given = inputs.pairs([*lines, *(header or [])]) or {}
    received = {name.lower(): value for name, value in given.items()}
    sent = inputs.read_bytes(body)
    now = int(time.time()) if at is None else at
    found = verifying.checks(secrets, received, sent, now, by_key)
    out.listed([each._asdict() for each in found], _COLUMNS, "")
    fault = verifying.fault_of(secrets, received, sent, now, by_key)
    if fault is not None:
        failed = [each for each in found if each.verdict == "fault"]
        names = [each.check for each in failed]
        raise CommandError(
            f"It does not verify: {fault.value}. Failed: {', '.join(names)}.",
            _advice(fault, names, longer=any(each.has_line_end for each in failed)),
        )


def _advice(fault: SignatureFault, failed: list[str], *, longer: bool) -> str:
    if fault is SignatureFault.MISSING_HEADER:
        return _HEADLESS
    if fault is SignatureFault.MALFORMED_TIMESTAMP:
        return _TIMELESS
    if longer:
        return _LONGER
    return _LATE if fault in _OF_TIME and failed == ["timestamp"] else _UNLIKE


def _head(text: str) -> list[str]:
    """The lines of a head as it came over the wire, without its first one."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("POST ", "HTTP/"))]


def _read(secret: str) -> str:
    return inputs.secret(inputs.content(secret[1:]).strip() if secret.startswith("@") else secret)
