"""`ringback sign` and `ringback verify`: without a service, and which check failed."""

import json
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from service.domain.key_set import jwk_of
from service.domain.signature import public_key_text, sign_standard
from service.vault import ed25519
from tests.support.terminal import Ended, Terminal

SECRET = "whsec_bm1BXcxvWdMCXy4rPRgpg1MEOVvHU/2UKdZQ6ZDCd+I="  # noqa: S105  the README shows it
BODY = b'{"id":"evt_0653be4ce6e000016a41976f"}'
AT = 1_795_235_073


def signed(*more: str, body: bytes = BODY) -> dict[str, str]:
    typed = ("sign", "--secret", SECRET, "--id", "evt_1", "--timestamp", str(AT), "-o", "json")
    done = Terminal()(*typed, *more, stdin=body)
    assert done.code == 0
    found: dict[str, str] = done.json
    return found


def verified(
    headers: dict[str, str], body: bytes = BODY, now: int = AT + 5, secret: str = SECRET
) -> tuple[Ended, dict[str, str]]:
    """How it ended, and the verdict of each check."""
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    typed = ("verify", "--secret", secret, "--now", str(now), "-o", "jsonl", *given)
    done = Terminal()(*typed, stdin=body)
    return done, {line["check"]: line["verdict"] for line in done.lines}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in signed().items() if name not in names}


def test_what_was_signed_verifies() -> None:
    done, verdicts = verified(signed())

    assert done.code == 0
    assert set(verdicts.values()) == {"ok"}
    assert list(verdicts) == ["headers", "timestamp", "webhook-signature", "x-webhook-signature"]


def test_either_signature_is_enough() -> None:
    assert verified(without("x-webhook-signature"))[0].code == 0
    assert verified({"X-Webhook-Signature": signed()["x-webhook-signature"]})[0].code == 0


@pytest.mark.parametrize(
    ("headers", "body", "now", "failed"),
    [
        (signed(), b"{}", AT, {"webhook-signature", "x-webhook-signature"}),
        (signed(), BODY, AT + 301, {"timestamp"}),
        (signed(), BODY, AT - 301, {"timestamp"}),
        (signed(), b"{}", AT + 301, {"timestamp", "webhook-signature", "x-webhook-signature"}),
        ({**signed(), "webhook-id": "evt_2"}, BODY, AT, {"webhook-signature"}),
        (without("webhook-id"), BODY, AT, {"webhook-signature"}),
        (
            {**signed(), "webhook-timestamp": "now"},
            BODY,
            AT,
            {"timestamp", "webhook-signature"},
        ),
        ({**signed(), "webhook-signature": "v2,x"}, BODY, AT, {"webhook-signature"}),
        ({"x-webhook-signature": "sha1=0"}, BODY, AT, {"x-webhook-signature"}),
        ({}, BODY, AT, {"headers"}),
    ],
)
def test_it_says_which_check_failed(
    headers: dict[str, str], body: bytes, now: int, failed: set[str]
) -> None:
    done, verdicts = verified(headers, body, now)

    assert done.code == 1
    assert {check for check, verdict in verdicts.items() if verdict == "fault"} == failed
    assert all(check in done.err for check in failed)
    assert ("Check the clocks" in done.err) == (failed == {"timestamp"})


def test_who_forgot_the_headers_is_told_how_to_give_them() -> None:
    done, _ = verified({})

    assert done.code == 1
    assert "--headers FILE" in done.err
    assert "secret ID" not in done.err


@pytest.mark.parametrize("at", ["abc", "1795235073.5", "2026-11-21T05:04:33Z", ""])
def test_who_gives_no_number_of_seconds_is_told_which_to_give(at: str) -> None:
    done, _ = verified({**signed(), "webhook-timestamp": at})

    assert done.code == 1
    assert "Give webhook-timestamp as it came" in done.err
    assert "secret ID" not in done.err


@pytest.mark.parametrize("command", ["sign", "verify", "listen"])
@pytest.mark.parametrize("secret", ["nope", "whsec_!", "whsec_AAAA"])
def test_who_gives_no_secret_is_told_where_it_is(command: str, secret: str) -> None:
    done = Terminal()(command, "--secret", secret)

    assert done.code == 2
    assert "`ringback subscription secret ID` shows it" in done.err
    assert "to be given" not in done.err


def test_who_gives_a_public_key_as_the_secret_is_told_where_it_belongs() -> None:
    done = Terminal()("verify", "--secret", PUBLIC_KEY)

    assert done.code == 2
    assert "--public-key" in done.err
    assert "Leave" not in done.err


def test_another_secret_and_an_added_line_end_are_told_apart() -> None:
    other, _ = verified(signed(), secret="another secret")  # noqa: S106  made up
    longer, _ = verified(signed(), BODY + b"\n")

    assert "another secret" in other.out
    (of_body,) = [line for line in other.out.splitlines() if "x-webhook-signature" in line]
    assert "timestamp" not in of_body
    assert other.out.count("line end") == 0
    assert longer.out.count("line end behind the body") == 2
    assert "secret ID" in other.err
    assert "Keep the body as it came" in longer.err
    assert "secret ID" not in longer.err


def test_files_as_people_keep_them(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    sign = Terminal()("sign", str(tmp_path / "body"), "--secret", f"@{tmp_path / 'secret'}")
    (tmp_path / "head").write_text(f"POST /hook HTTP/1.1\r\nhost: h\r\n{sign.out}\r\n")
    done = Terminal({"WEBHOOK_SECRET": SECRET})(
        "verify", str(tmp_path / "body"), "--headers", str(tmp_path / "head")
    )

    assert abs(int(sign.out.split("webhook-timestamp: ")[1].split()[0]) - time.time()) < 60
    assert (done.code, done.out.count("\tok\t")) == (0, 4)


@pytest.mark.parametrize(
    "typed",
    [
        ("--secret", "whsec_!"),
        ("--secret", "short"),
        ("--secret", "@/nowhere/to/be/found"),
        ("--secret", SECRET, "/nowhere/to/be/found"),
        ("--secret", SECRET, "-H", "nothing"),
        (),
    ],
)
def test_wrong_usage_never_repeats_a_secret(typed: tuple[str, ...]) -> None:
    done = Terminal()("verify", *typed)

    assert (done.code, done.out) == (2, "")
    assert SECRET not in done.err
    assert "whsec_!" not in done.err


# --- public keys

SEED, OTHER_SEED = b"s" * 32, b"o" * 32
PUBLIC_KEY, OTHER_KEY = (public_key_text(ed25519.public_key(seed)) for seed in (SEED, OTHER_SEED))
KEY_SET = json.dumps(
    {
        "keys": [
            {"kty": "EC", "crv": "P-256", "x": "another kind"},
            *({"kty": "OKP", "crv": "Ed25519", "x": jwk_of(k).x} for k in (OTHER_KEY, PUBLIC_KEY)),
        ]
    }
)


def signed_by_key(body: bytes = BODY) -> list[str]:
    value = sign_standard([], "evt_1", AT, body, [ed25519.signer(SEED)])
    headers = {"webhook-id": "evt_1", "webhook-timestamp": AT, "webhook-signature": value}
    return [part for name, each in headers.items() for part in ("-H", f"{name}: {each}")]


def by_key(*keys: str, body: bytes = BODY) -> tuple[Ended, dict[str, str]]:
    given = [part for key in keys for part in ("--public-key", key)]
    typed = ("verify", *given, "--now", str(AT), "-o", "jsonl", *signed_by_key())
    done = Terminal()(*typed, stdin=body)
    return done, {line["check"]: line["verdict"] for line in done.lines}


@pytest.fixture
def address() -> Iterator[str]:
    """Where the key set is."""

    class Served(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/jwks.json" else 404)
            self.end_headers()
            self.wfile.write(KEY_SET.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as it is named there
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Served) as server:
        thread = Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_public_key_verifies_what_the_private_one_signed() -> None:
    done, verdicts = by_key(PUBLIC_KEY)

    assert done.code == 0
    assert verdicts == {"headers": "ok", "timestamp": "ok", "webhook-signature v1a": "ok"}
    assert by_key(OTHER_KEY, PUBLIC_KEY)[0].code == 0


def test_another_key_or_body_does_not() -> None:
    other, verdicts = by_key(OTHER_KEY)
    assert (other.code, verdicts["webhook-signature v1a"]) == (1, "fault")
    assert by_key(PUBLIC_KEY, body=b"{}")[0].code == 1


def test_key_sets(tmp_path: Path, address: str) -> None:
    (tmp_path / "set").write_text(KEY_SET)
    (tmp_path / "key").write_text(f"{PUBLIC_KEY}\n")

    assert by_key(f"@{tmp_path / 'set'}")[0].code == 0
    assert by_key(f"@{tmp_path / 'key'}")[0].code == 0
    assert by_key(f"{address}/jwks.json")[0].code == 0
    gone, _ = by_key(f"{address}/nothing")
    assert (gone.code, gone.out) == (6, "")
    assert f"No key set from {address}/nothing: it answered 404.\n" in gone.err
    assert by_key(f"{address}/jwks.json", body=b"{}")[0].code == 1


def test_a_secret_and_a_key_together() -> None:
    typed = ("verify", "--secret", SECRET, "--public-key", PUBLIC_KEY, "--now", str(AT))
    done = Terminal()(*typed, "-o", "jsonl", *signed_by_key(), stdin=BODY)

    assert done.code == 0
    assert [(line["check"], line["verdict"]) for line in done.lines][2:] == [
        ("webhook-signature", "fault"),
        ("webhook-signature v1a", "ok"),
        ("x-webhook-signature", "absent"),
    ]


@pytest.mark.parametrize("key", ["whpk_!", "whpk_AAAA", SECRET, "@/nowhere/to/be/found"])
def test_what_is_no_public_key_is_refused(key: str) -> None:
    done = Terminal()("verify", "--public-key", key)

    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("text", ["[]", '{"keys": 1}', '{"keys": []}', "nothing"])
def test_what_is_no_key_set_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "set").write_text(text)

    assert Terminal()("verify", "--public-key", f"@{tmp_path / 'set'}").code == 2


@pytest.mark.parametrize("name", ["", "zwölf", "a\nx-webhook-event: b"])
def test_an_id_that_no_header_can_hold_signs_nothing(name: str) -> None:
    done = Terminal()("sign", "--secret", SECRET, "--id", name, stdin=BODY)

    assert (done.code, done.out) == (2, "")
    assert "--id" in done.err
