"""The commands over a running service, as people use them."""

import base64
import re
import time
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from service.domain.signature import key_bytes, verify_standard
from tests.cli.conftest import Receiver, Shop
from tests.support.server import free_port
from tests.support.terminal import Ended, Terminal

Receivers = Callable[[int], Receiver]


def created(run: Terminal, url: str, *more: str) -> str:
    """The id of a new subscription."""
    done = run("subscription", "create", url, "-o", "jsonl", *more)
    assert done.code == 0, done.err
    return str(done.json["id"])


def until(look: Callable[[], Ended], wanted: Callable[[Ended], bool]) -> Ended:
    """The first look that is as wanted."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        done = look()
        if wanted(done):
            return done
        time.sleep(0.05)
    raise AssertionError("It did not come to be.")


def is_signed(command: str, secret: str, body: bytes) -> bool:
    """Whether the headers of a curl command are fresh signatures of that body."""
    headers = dict(
        line.strip().removeprefix("-H '").split("'")[0].split(": ", 1)
        for line in command.splitlines()
        if line.strip().startswith("-H ")
    )
    return verify_standard([key_bytes(secret)], headers, body, int(time.time())) is None


def dead(run: Terminal, receivers: Receivers, count: int = 1) -> Receiver:
    """A receiver that has failed until there were so many dead letters."""
    receiver = receivers(500)
    created(run, receiver.url)
    for number in range(count):
        done = run("event", "send", "STARTED", "--operation", f"job-{number}", "--wait")
        assert done.code == 1
    return receiver


def test_an_event_is_sent_and_its_delivery_awaited(run: Terminal, receivers: Receivers) -> None:
    receiver = receivers(204)
    created(run, receiver.url)
    done = run(
        *("event", "send", "COMPLETED", "--operation", "job-1", "--wait", "-o", "jsonl"),
        *("--data", '{"price": 1.10, "huge": 1e400}', "--message", "done", "--progress", "100"),
    )

    assert (done.code, done.err) == (0, "")
    assert [line["status"] for line in done.lines] == ["delivered"]
    assert b'"price":1.10,"huge":1e400' in receiver.requests[0].body
    (event,) = run("event", "list", "-o", "jsonl").lines
    assert event["data"] == {"price": "1.10", "huge": "1e400"}
    assert run("event", "get", event["id"], "-o", "json").json == event
    assert run("event", "list", "--operation", "job-1", "-o", "jsonl").lines == [event]


def test_an_event_that_nobody_wants_is_no_failure(run: Terminal) -> None:
    done = run("event", "send", "STARTED", "--operation", "job-1", "--wait")

    assert (done.code, done.out) == (0, "")
    assert "no subscription matches it" in done.err


def test_the_same_key_sends_an_event_once(run: Terminal) -> None:
    send = ("event", "send", "note", "--operation", "o", "--idempotency-key", "k", "-o", "jsonl")

    assert run(*send).json == run(*send).json
    assert len(run("event", "list", "-o", "jsonl").lines) == 1


def test_events_come_from_a_file_and_what_is_refused_is_told(run: Terminal) -> None:
    lines = b'{"operationId": "a", "type": "STARTED"}\n\n{"type": "!"}\n'
    done = run("event", "send", "--from", "-", "-o", "jsonl", stdin=lines)

    assert done.code == 7
    assert "problem" not in done.lines[0]
    assert done.lines[1]["problem"]["status"] == "422"
    assert "1 of 2 events were refused" in done.err


def test_more_than_a_page_is_listed(run: Terminal) -> None:
    lines = b"\n".join(b'{"operationId": "o%d", "type": "STARTED"}' % n for n in range(1_203))
    assert run("event", "send", "--from", "-", stdin=lines).code == 0

    for limit, found in ((1, 1), (200, 200), (201, 201), (5_000, 1_203)):
        for noun in ("event", "operation"):
            done = run(noun, "list", "--limit", str(limit), "-o", "jsonl")
            assert len({line["operationId"] for line in done.lines}) == found


def test_an_operation_is_watched_to_its_end(run: Terminal) -> None:
    for kind in ("STARTED", "note", "COMPLETED"):
        run("event", "send", kind, "--operation", "job", "--result", '{"url": "/x"}')
    done = run("operation", "watch", "job", "-o", "jsonl")

    assert done.code == 0
    assert [line["type"] for line in done.lines] == ["STARTED", "note", "COMPLETED"]
    assert run("operation", "watch", "job", "-o", "json").json["status"] == "COMPLETED"
    assert run("operation", "get", "job", "-o", "json").json["result"] == {"url": "/x"}


def test_an_operation_that_failed_is_exit_code_1(run: Terminal) -> None:
    run("event", "send", "FAILED", "--operation", "job", "--error", '{"title": "no paper"}')
    done = run("operation", "watch", "job")

    assert done.code == 1
    assert "ended as FAILED" in done.err


def test_an_operation_is_cancelled_only_after_a_yes(run: Terminal) -> None:
    run("event", "send", "STARTED", "--operation", "job")

    assert run("operation", "cancel", "job").code == 2
    done = run("operation", "cancel", "job", "--reason", "enough", "--yes", "-o", "json")
    assert done.json["status"] == "CANCELLED"
    assert run("event", "send", "note", "--operation", "job").code == 5


def test_a_subscription_from_its_making_to_its_end(run: Terminal, receivers: Receivers) -> None:
    receiver = receivers(204)
    name = created(
        run,
        receiver.url,
        "--events",
        "a,b.*",
        "-H",
        "x-token: s3cret",
        "--more",
        '{"metadata": {}}',
    )

    shown = run("subscription", "get", name, "-o", "json").json
    assert shown["eventTypes"] == ["a", "b.*"]
    assert shown["metadata"] == {}
    assert run("subscription", "test", name).code == 0
    receiver.status = 500
    failed = run("subscription", "test", name)
    assert failed.code == 1
    assert "did not take it" in failed.err
    change = ("subscription", "update", name, "--description", "ours", "-o", "json")
    assert run(*change).json["description"] == "ours"
    assert run("subscription", "update", name).code == 2
    assert "is paused" in run("subscription", "pause", name).out
    assert "is active" in run("subscription", "resume", name).out
    assert run("subscription", "stats", name, "-o", "json").json["subscriptionId"] == name
    assert run("subscription", "delete", name).code == 2
    assert run("subscription", "delete", name, "-y").code == 0
    assert run("subscription", "get", name).code == 4


def test_a_secret_is_rotated_after_a_yes_and_shown(run: Terminal, receivers: Receivers) -> None:
    name = created(run, receivers(204).url)

    assert run("subscription", "rotate-secret", name).code == 2
    rotated = run("subscription", "rotate-secret", name, "--yes", "-o", "json").json["secret"]
    shown = run("subscription", "secret", name, "-o", "jsonl").lines
    assert shown[0]["secret"] == rotated
    assert len(shown) == 2


def test_a_delivery_is_found_shown_retried_and_cancelled(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers)
    (found,) = run("delivery", "list", "--status", "dead", "--since", "1h", "-o", "jsonl").lines
    shown = run("delivery", "get", found["id"], "-o", "json").json
    assert [each["statusCode"] for each in shown["attempts"]] == ["500", "500"]
    assert "\t500\thttp_status\t" in run("delivery", "get", found["id"]).out

    run("subscription", "pause", found["subscriptionId"])
    run("event", "send", "note", "--operation", "other")
    (waits,) = run("delivery", "list", "--status", "pending", "-o", "jsonl").lines
    assert run("delivery", "cancel", waits["id"]).code == 2
    assert "is cancelled" in run("delivery", "cancel", waits["id"], "--yes").out
    assert "is sent again" in run("delivery", "retry", found["id"]).out


def test_curl_holds_no_signature_unless_asked(run: Terminal, receivers: Receivers) -> None:
    receiver = receivers(204)
    name = created(run, receiver.url, "-H", "x-token: s3cret")
    send = ("event", "send", "note", "--operation", "o", "--data", '"it\'s 1.10"', "--wait")
    (delivery,) = run(*send, "-o", "jsonl").lines
    plain = run("delivery", "curl", delivery["id"])
    signed = run("delivery", "curl", delivery["id"], "--signed")
    secret = run("subscription", "secret", name, "-o", "jsonl").lines[0]["secret"]

    assert "signature" not in plain.out
    assert "Left out: webhook-signature, x-webhook-signature" in plain.err
    assert "x-token: ****" in plain.out
    assert "x-token" in plain.err
    assert "s3cret" not in plain.out + signed.out
    assert secret not in plain.out + signed.out
    assert base64.b64encode(key_bytes(secret)).decode() not in signed.out
    assert is_signed(signed.out, secret, receiver.requests[0].body)


def test_curl_of_a_thin_payload_has_and_signs_what_was_sent(
    run: Terminal, receivers: Receivers
) -> None:
    receiver = receivers(204)
    name = created(run, receiver.url, "--payload", "thin")
    send = ("event", "send", "note", "--operation", "o", "--data", '"whole"', "--wait")
    (delivery,) = run(*send, "-o", "jsonl").lines
    plain = run("delivery", "curl", delivery["id"])
    signed = run("delivery", "curl", delivery["id"], "--signed")
    secret = run("subscription", "secret", name, "-o", "jsonl").lines[0]["secret"]

    body = receiver.requests[0].body
    assert b"whole" not in body
    assert f"--data-raw '{body.decode()}'" in plain.out
    assert f"--data-raw '{body.decode()}'" in signed.out
    assert "whole event" not in plain.err
    assert is_signed(signed.out, secret, body)


def test_curl_of_what_a_deleted_subscription_got(run: Terminal, receivers: Receivers) -> None:
    name = created(run, receivers(204).url)
    send = ("event", "send", "note", "--operation", "o", "--wait", "-o", "jsonl")
    (delivery,) = run(*send).lines
    assert run("subscription", "delete", name, "--yes").code == 0
    done = run("delivery", "curl", delivery["id"])

    assert done.code == 0
    assert '"type":"note"' in done.out
    assert "The subscription is gone" in done.err
    assert run("delivery", "curl", delivery["id"], "--signed").code == 4


def test_dead_letters_are_counted_replayed_and_discarded(
    run: Terminal, receivers: Receivers
) -> None:
    receiver = dead(run, receivers, count=3)
    assert run("dead-letter", "summary", "-o", "jsonl").lines[0]["count"] == "3"
    assert "3 deliveries would be sent" in run("dead-letter", "replay", "--all", "--dry-run").out
    names = [each["id"] for each in run("dead-letter", "list", "-o", "jsonl").lines]
    assert run("dead-letter", "get", names[0], "-o", "json").json["attempts"] == "2"

    assert run("dead-letter", "discard", names[0]).code == 2
    assert run("dead-letter", "discard", names[0], "--yes").code == 0
    receiver.status = 204
    assert run("dead-letter", "replay", names[1]).code == 0
    done = run("replay", "--since", "1h", "--rate", "100", "--yes")
    assert done.code == 0
    assert "Replayed " in done.err
    until(
        lambda: run("delivery", "list", "--status", "delivered", "-o", "jsonl"),
        lambda done: len(done.lines) == 2,
    )
    assert run("dead-letter", "discard", "--all", "--yes").out == "Nothing to discard.\n"


def test_of_several_the_refused_ones_do_not_keep_the_others_back(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers, count=2).status = 204
    one, two = (each["id"] for each in run("dead-letter", "list", "-o", "jsonl").lines)

    done = run("dead-letter", "discard", "dl_none", one, "--yes")
    again = run("dead-letter", "replay", one, two)
    sent = run("delivery", "retry", two.replace("dl_", "dlv_"), "nope")
    off = run("delivery", "cancel", "nope", "neither", "--yes")

    assert [each.code for each in (done, again, sent, off)] == [7] * 4
    assert (done.out, "1 of 2 were refused" in done.err) == (f"{one} is discarded.\n", True)
    assert "dl_none: There is no dead letter" in done.err
    assert again.out.startswith(f"{two}: ")
    assert "the others are done" in done.err
    assert "All 2 were refused; nothing was done." in off.err


def test_of_several_that_are_not_there_none_is_to_be_looked_at(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers)
    (one,) = (
        each["id"].replace("dl_", "dlv_")
        for each in run("dead-letter", "list", "-o", "jsonl").lines
    )
    cancel = ("delivery", "cancel", "--yes")

    gone, both, there = (
        run(*cancel, *names).err for names in (("nope", "no"), ("nope", one), (one, one))
    )

    assert "Check the ids" in gone
    assert "`get`" not in gone
    assert "Check the ids" in both
    assert "`get` shows" in both
    assert "`list`" not in there
    assert "`get` shows" in there


def test_what_was_discarded_is_not_said_to_have_never_been_given_up(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers, count=2)
    listed = ("dead-letter", "list")
    kept = [run(*listed, *more).err for more in (("--resolved",), ("--reason", "gone"))]
    assert run("dead-letter", "discard", "--all", "--yes").code == 0
    gone = [run(*listed, *more).err for more in ((), ("--open",), ("--resolved",))]
    counted = [run("dead-letter", "summary", *more).err for more in ((), ("--type", "STARTED"))]

    unlike, closed = "No dead letter is like this.\n", "No dead letters are open.\n"
    assert kept == [unlike, unlike]
    assert gone == ["There are no dead letters.\n", closed, unlike]
    assert counted == [closed, "No open dead letter is like this.\n"]


def test_what_is_on_its_way_again_is_neither_counted_nor_discarded(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers)
    (one,) = run("subscription", "list", "-o", "jsonl").lines
    assert run("subscription", "pause", one["id"]).code == 0
    assert run("dead-letter", "replay", "--all", "--yes").code == 0

    assert run("dead-letter", "summary", "-o", "jsonl").lines == []
    assert run("dead-letter", "discard", "--all", "--yes").out == "Nothing to discard.\n"
    assert len(run("dead-letter", "list", "--open", "-o", "jsonl").lines) == 1


def test_a_replay_says_why_it_leaves_letters_out(run: Terminal, receivers: Receivers) -> None:
    dead(run, receivers, count=2)
    (one,) = run("subscription", "list", "-o", "jsonl").lines
    assert run("subscription", "delete", one["id"], "--yes").code == 0

    dry = run("dead-letter", "replay", "--all", "--dry-run")
    done = run("dead-letter", "replay", "--all", "--yes")

    assert "disabled or deleted" in dry.out
    assert "Replayed 0, skipped 2, for subscriptions that are disabled or deleted." in done.err
    assert "ringback subscription resume" in done.err
    assert done.code == 7


def test_a_replay_that_leaves_some_out_says_so_to_scripts(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers)
    gone = run("subscription", "list", "-o", "jsonl").lines[0]["id"]
    dead(run, receivers).status = 204
    assert run("subscription", "delete", gone, "--yes").code == 0

    done = run("replay", "--since", "1h", "--yes", "-o", "json")

    assert done.code == 7
    assert (done.json["result"]["replayed"], done.json["result"]["skipped"]) == ("1", "2")
    assert run("replay", "--since", "1h", "--until", "30m", "--yes").code == 0


def test_a_replay_to_a_disabled_subscription_is_not_nothing(
    run: Terminal, receivers: Receivers
) -> None:
    receiver = dead(run, receivers)
    receiver.status = 410
    (one,) = run("subscription", "list", "-o", "jsonl").lines
    assert run("event", "send", "STARTED", "--operation", "last", "--wait").code == 1
    assert run("subscription", "get", one["id"], "-o", "json").json["status"] == "disabled"

    again = ("replay", "--subscription", one["id"], "--since", "1h", "--yes", "--only")

    for only in ("missing", "all"):
        done = run(*again, only)
        assert done.code == 5
        assert f"{one['id']} is disabled" in done.err
        assert f"ringback subscription resume {one['id']}" in done.err
    assert run(*again, "dead").code == 7


def test_dead_letters_that_a_filter_selects_are_discarded(
    run: Terminal, receivers: Receivers
) -> None:
    dead(run, receivers, count=2)
    done = run("dead-letter", "discard", "--reason", "attempts_exhausted", "--yes")

    assert done.out.count("is discarded") == 2
    assert run("dead-letter", "list", "-o", "jsonl").lines == []


def test_a_replay_sends_nothing_without_a_yes(run: Terminal, receivers: Receivers) -> None:
    receiver = dead(run, receivers)
    receiver.status = 204
    before = len(receiver.requests)

    assert run("replay", "--since", "1h", "--dry-run", "-o", "json").json["matched"] == "1"
    done = run("replay", "--since", "1h")
    assert done.code == 2
    assert "--yes" in done.err
    assert len(receiver.requests) == before
    assert run("replay", "--since", "1h", "--until", "30m", "--yes").out == "Nothing to replay.\n"


def test_what_a_subscription_never_had_is_replayed(run: Terminal, receivers: Receivers) -> None:
    run("event", "send", "note", "--operation", "o")
    receiver = receivers(204)
    name = created(run, receiver.url)
    done = run(
        *("replay", "--since", "1h", "--subscription", name, "--only", "missing", "--yes"),
        *("--type", "note", "-o", "json"),
    )

    assert done.code == 0
    assert done.json["result"]["replayed"] == "1"


@pytest.mark.parametrize(
    "typed",
    [
        ("dead-letter", "replay"),
        ("dead-letter", "discard", "--yes"),
        ("dead-letter", "replay", "dl_1", "--all"),
        ("dead-letter", "replay", "dl_1", "--dry-run"),
        ("replay", "--since", "yesterday"),
        ("replay", "--since", "1h", "--only", "missing"),
        ("replay", "--since", "1h", "--only", "some", "--subscription", "s"),
        ("replay", "--since", "1h", "--until", "2h", "--yes"),
        ("event", "send", "STARTED"),
        ("event", "send", "--from", "/nowhere/to/be/found"),
        ("event", "send", "STARTED", "--operation", "o", "--data", "{bad"),
        ("event", "send", "STARTED", "--operation", "o", "--from", "-"),
        ("event", "send", "no type", "--operation", "o"),
        ("event", "list", "--operation", "o", "--type", "a"),
        ("subscription", "create", "ftp://example.com/"),
        ("subscription", "create", "https://example.com/", "-H", "nothing"),
        ("subscription", "create", "https://example.com/", "--retry-schedule", "0,soon"),
        ("subscription", "create", "https://example.com/", "--more", "[]"),
        ("subscription", "create", "https://example.com/", "--more", '{"colour": 1}'),
        ("delivery", "list", "--status", "lost"),
        ("key", "create", "x", "--scopes", "everything"),
        ("health", "--url", "nonsense"),
        ("health", "--url", "http://[::1"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nothing_is_printed(
    typed: tuple[str, ...], run: Terminal
) -> None:
    done = run(*typed)

    assert (done.code, done.out) == (2, "")
    assert done.err.strip()


@pytest.mark.parametrize("noun", ["event", "operation", "subscription", "delivery", "dead-letter"])
def test_what_is_not_there_is_exit_code_4(noun: str, run: Terminal) -> None:
    done = run(noun, "get", "no-such-thing")

    assert (done.code, done.out) == (4, "")
    assert "--tenant" in done.err


def test_keys_and_what_they_may_not_do(shop: Shop) -> None:
    run = shop.terminal()
    make = ("key", "create", "jobs", "--scopes", "events:write", "--of", shop.tenant)
    admin = Terminal(run.environ)
    made = admin(*make, "--expires", "30d", "-o", "json").json
    theirs = Terminal({"RINGBACK_URL": shop.url, "RINGBACK_API_KEY": made["key"]})

    assert theirs("event", "send", "note", "--operation", "o").code == 0
    forbidden = theirs("delivery", "list")
    assert forbidden.code == 3
    assert "deliveries:read" in forbidden.err
    listed = admin("key", "list", "--of", shop.tenant)
    assert made["id"] in listed.out
    assert made["key"] not in listed.out
    assert admin("key", "revoke", made["id"]).code == 2
    assert admin("key", "revoke", made["id"], "--yes").code == 0
    revoked = theirs("event", "send", "note", "--operation", "o")
    assert revoked.code == 3
    assert "RINGBACK_API_KEY" in revoked.err


def test_a_key_gets_another_text(shop: Shop) -> None:
    admin = Terminal(shop.terminal().environ)
    make = ("key", "create", "jobs", "--scopes", "events:write", "--of", shop.tenant)
    made = admin(*make, "-o", "json").json

    asked = admin("key", "rotate", made["id"])
    assert (asked.code, asked.out) == (2, "")
    assert "Nobody can be asked" in asked.err
    rotated = admin("key", "rotate", made["id"], "--yes", "-o", "json").json

    assert (rotated["id"], rotated["scopes"]) == (made["id"], made["scopes"])
    send = ("event", "send", "note", "--operation", "o")
    codes = [
        Terminal({"RINGBACK_URL": shop.url, "RINGBACK_API_KEY": text})(*send).code
        for text in (made["key"], rotated["key"])
    ]
    assert codes == [3, 0]
    assert admin("key", "rotate", "key_none", "--yes").code == 4


def test_a_portal_link_is_made_and_revoked(shop: Shop) -> None:
    run = shop.terminal()
    hook = created(run, "https://example.com/hook")
    limits = ("--ttl-seconds", "60", "--session-seconds", "120")
    make = ("portal-link", "create", "--subscription", hook, "--scopes", "deliveries:read")
    done = run(*make, *limits, "-o", "json")

    made = done.json
    assert (made["tenantId"], made["subscriptionId"]) == (shop.tenant, hook)
    assert (made["scopes"], made["sessionSeconds"]) == (["deliveries:read"], "120.0")
    assert f"ringback portal-link revoke {made['id']} --tenant {shop.tenant}" in done.err
    where, _, secret = made["url"].partition("#")
    own = {"origin": shop.url, "sec-fetch-site": "same-origin"}
    opened = httpx.post(where, data={"link": secret}, headers=own)
    cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
    assert httpx.get(f"{shop.url}/portal", headers=cookie).status_code == 200

    asked = run("portal-link", "revoke", made["id"])
    assert (asked.code, asked.out) == (2, "")
    assert run("portal-link", "revoke", made["id"], "--yes").code == 0
    assert httpx.get(f"{shop.url}/portal", headers=cookie).status_code == 401
    again = run("portal-link", "revoke", made["id"], "--yes")
    assert (again.code, again.out) == (4, "")
    bare = run("portal-link", "create", "-o", "json").json
    assert "subscriptionId" not in bare
    assert Terminal(run.environ)("portal-link", "revoke", bare["id"], "--yes").code == 4


def test_what_no_portal_link_may_be_is_refused(shop: Shop) -> None:
    run = shop.terminal()
    assert run("portal-link", "create", "--scopes", "admin").code == 2
    assert run("portal-link", "create", "--session-seconds", "1").code == 2
    assert run("portal-link", "create", "--subscription", "sub_none").code == 4
    make = ("key", "create", "jobs", "--scopes", "events:write", "--of", shop.tenant)
    key = Terminal(run.environ)(*make, "-o", "json").json["key"]
    theirs = Terminal({"RINGBACK_URL": shop.url, "RINGBACK_API_KEY": key})
    assert theirs("portal-link", "create").code == 3


def test_a_failed_operation_is_tried_again(run: Terminal) -> None:
    error = '{"title": "x", "retryable": true}'
    run("event", "send", "FAILED", "--operation", "job-1", "--error", error)

    first = run("operation", "retry", "job-1", "-o", "json").json
    again = run("operation", "retry", "job-1", "-o", "json").json

    assert first["retryOf"] == "job-1"
    assert first["operationId"] == again["operationId"]
    run("event", "send", "STARTED", "--operation", "job-2")
    assert run("operation", "retry", "job-2").code == 5


def test_without_a_key_it_says_how_to_give_one(shop: Shop) -> None:
    done = Terminal({"RINGBACK_URL": shop.url})("event", "list")

    assert done.code == 3
    assert "--key" in done.err


def test_health_needs_no_key(shop: Shop) -> None:
    done = Terminal({"RINGBACK_URL": shop.url})("health", "-o", "json")

    assert done.code == 0
    assert done.json == {"url": shop.url, "live": "ok", "ready": "ok"}


@pytest.mark.parametrize("typed", [("health",), ("event", "tail"), ("operation", "watch", "o")])
def test_where_nobody_listens_it_says_how_to_start_one(typed: tuple[str, ...]) -> None:
    done = Terminal({"RINGBACK_URL": f"http://127.0.0.1:{free_port()}"})(*typed)

    assert (done.code, done.out) == (6, "")
    assert "ringback serve" in done.err


def test_what_is_not_ringback_is_said_to_be_something_else(receivers: Receivers) -> None:
    done = Terminal({"RINGBACK_URL": receivers(200).url})("event", "list")

    assert done.code == 6
    assert "is not Ringback" in done.err


def test_on_a_terminal_it_asks_first_and_shows_a_bar(shop: Shop, receivers: Receivers) -> None:
    plain = shop.terminal()
    manned = replace(plain, width=100, is_manned=True)
    receiver = dead(plain, receivers)
    receiver.status = 204

    refused = manned("replay", "--since", "1h", stdin=b"n\n")
    assert refused.code == 1
    assert "Send 1 delivery again? [y/N]" in refused.err
    assert "Nothing was done" in refused.err
    assert len(receiver.requests) == 2
    done = manned("replay", "--since", "1h", stdin=b"y\n")
    assert done.code == 0
    assert "100%" in done.err
    assert "Replayed 1, skipped 0." in done.err
    assert "ringback.replay" in done.out


def test_hostile_text_reaches_no_terminal(shop: Shop) -> None:
    run = shop.terminal()
    evil = "\x1b]0;owned\x07\u202egnp.exe\n\t\x9b31m"
    httpx.post(
        f"{shop.url}/v1/events",
        json={"operationId": "o", "type": "note", "message": "x" + evil},
        headers={"authorization": f"Bearer {shop.key}", "ringback-tenant": shop.tenant},
    ).raise_for_status()

    for form in ("table", "json", "jsonl"):
        said = run("event", "list", "-o", form).out
        assert "owned" in said
        assert all(each.isprintable() or each in "\n\t" for each in said)
    assert run("event", "list").out.count("\n") == 1
    assert run("event", "list", "-o", "jsonl").lines[0]["message"] == "x" + evil


def test_a_list_that_is_cut_off_says_so(run: Terminal) -> None:
    for number in range(3):
        run("event", "send", "STARTED", "--operation", f"job-{number}")
    for noun in ("event", "operation"):
        cut = run(noun, "list", "--limit", "2", "-o", "jsonl")
        assert len(cut.lines) == 2
        assert "There are more" in cut.err
        assert "--limit" in cut.err
        assert run(noun, "list", "--limit", "3").err == ""


def test_a_list_of_events_goes_on_where_it_was_cut_off(run: Terminal) -> None:
    for number in range(3):
        run("event", "send", "STARTED", "--operation", f"job-{number}")
    cut = run("event", "list", "--limit", "2")
    (cursor,) = re.findall(r"--after (\S+)", cut.err)

    rest = run("event", "list", "--after", cursor, "-o", "jsonl")
    assert [each["operationId"] for each in rest.lines] == ["job-2"]
    assert rest.err == ""


def test_what_people_copy_is_in_one_piece(run: Terminal, shop: Shop) -> None:
    link = shop.terminal(60)("portal-link", "create")
    assert re.search(r"http://\S+/portal/enter#pl_[\w-]{43}$", link.out, re.MULTILINE)

    url = "https://example.com/" + "/".join(["a-rather-long-path"] * 5)
    name = created(run, url)
    assert url in shop.terminal(60)("subscription", "get", name).out


def test_why_an_attempt_failed_is_shown_on_a_narrow_terminal(
    run: Terminal, shop: Shop, receivers: Receivers
) -> None:
    dead(run, receivers)
    (delivery,) = run("delivery", "list", "-o", "jsonl").lines
    assert "what happened" in shop.terminal(80)("delivery", "get", delivery["id"]).out
