"""`ringback sign` and `ringback verify`: without a service, and which check failed."""

import time
from pathlib import Path

import pytest

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


def test_another_secret_and_an_added_line_end_are_told_apart() -> None:
    other, _ = verified(signed(), secret="another secret")  # noqa: S106  made up
    longer, _ = verified(signed(), BODY + b"\n")

    assert "another secret" in other.out
    assert other.out.count("line end") == 0
    assert longer.out.count("line end behind the body") == 2


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
