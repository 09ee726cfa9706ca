"""What the commands are made of: times, exact JSON, tables, copies, connections."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.cli import asking, client, copying, exact, moments, render
from service.cli.exits import CommandError, Exit, of_status
from service.cli.progress import percentage
from service.cli.render import Form, Out
from service.cli.shown import TRIAL_CARD
from service.domain import times
from service.domain.attempt_log import ResponseDetail
from service.domain.signature import key_bytes, sign_body
from service.settings import load
from tests.support.terminal import Keyboard

NOW = 1_795_235_073_000
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=JSON, pretty=st.booleans())
def test_json_means_the_same_after_it_was_read_and_printed(value: object, *, pretty: bool) -> None:
    text = exact.dumps(exact.loads(json.dumps(value)), pretty=pretty)

    assert json.loads(text) == json.loads(json.dumps(value))
    assert all(each.isprintable() or each == "\n" for each in text)


@pytest.mark.parametrize("number", ["1.10", "1e400", "12345678901234567890.1234567", "-0", "1E5"])
def test_numbers_stay_as_they_were_written(number: str) -> None:
    assert exact.dumps(exact.loads(f'{{"a": [{number}]}}')) == f'{{"a":[{number}]}}'


def test_what_is_nested_as_deep_as_the_service_lets_it_be_is_printed() -> None:
    value: list[object] = []
    for _ in range(5_000):
        value = [value]

    assert exact.dumps(value) == "[" * 5_001 + "]" * 5_001


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", "", "[" * 100_000])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        exact.loads(text)


def test_a_question_shows_what_a_terminal_would_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard(b"y\n", is_terminal=True))

    asking.confirm("Delete http://a/\u202egnp\x1b[1m?", yes=False)

    assert r"http://a/\u202egnp\x1b[1m?" in capsys.readouterr().err


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    shown = render.printable(text)

    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@given(st.integers(0, 999_999), st.sampled_from("smhdw"))
def test_so_long_ago_is_so_much_earlier(count: int, unit: str) -> None:
    seconds = count * {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}[unit]
    if seconds * 1000 > NOW:
        with pytest.raises(ValueError, match="is no time"):
            moments.read(f"{count}{unit}", NOW)
    else:
        assert times.parse(moments.read(f"{count}{unit}", NOW)) == NOW - seconds * 1000


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00.000Z"),
    ],
)
def test_days_and_times_are_read(text: str, read: str) -> None:
    assert moments.read(text, NOW) == read
    assert moments.read("1d", NOW, ahead=True) == times.render(NOW + 86_400_000)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2h ago", "-2h", "2026-13-01", "9999999d", "2 h"]
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="how long ago: 90s"):
        moments.read(text, NOW)


COLUMNS = [render.Column("id", "id"), render.Column("note", "note", is_text=True)]
COLUMNS += [render.Column("a", "a"), render.Column("b", "b")]


@pytest.mark.parametrize(
    ("rows", "width", "shown"),
    [
        ([["x" * 30, "", "1", "2"]], 80, [0, 2, 3]),
        ([["x" * 30, "n" * 99, "1", "2"]], 80, [0, 1, 2, 3]),
        ([["x" * 30, "n" * 99, "1", "2"]], 40, [0, 2, 3]),
        ([["x" * 30, "", "1" * 9, "2"]], 35, [0, 3]),
        ([["x" * 30, "n", "1", "2"]], 10, [0]),
    ],
)
def test_columns_that_have_no_room_are_left_out(
    rows: list[list[str]], width: int, shown: list[int]
) -> None:
    assert render.fitting(COLUMNS, rows, width) == shown


@pytest.mark.parametrize("width", [40, 20])
def test_what_a_table_is_read_for_is_shown_before_the_rest(width: int) -> None:
    columns = [*COLUMNS, render.Column("remedy", "remedy", is_text=True, is_needed=True)]
    assert render.fitting(columns, [["x" * 10, "", "1" * 9, "2", "r" * 99]], width) == [0, 4]


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (exact.Number("40"), 40.0),
        ({"current": exact.Number("1"), "percentage": exact.Number("12.5")}, 12.5),
        ({"current": exact.Number("1")}, None),
        (None, None),
        ("40", None),
    ],
)
def test_progress_is_read_in_both_forms(progress: object, shown: float | None) -> None:
    assert percentage(progress) == shown


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"current": exact.Number("5")}, 25.0),
        ({"current": exact.Number("30")}, 100.0),
        ({"current": exact.Number("5"), "percentage": exact.Number("50")}, 50.0),
        ({}, None),
        (None, None),
    ],
)
def test_what_does_not_know_its_end_is_measured_by_what_was_counted(
    progress: object, shown: float | None
) -> None:
    assert percentage(progress, 20) == shown


#: What ``| sh`` may be: the machine's own, and bash under its name.
SHELLS = sorted({found for name in ("sh", "dash", "bash") if (found := shutil.which(name))})
#: What a body may hold; no argument holds NUL.
SENT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from("'\"\\%$`!-\n\r\t\x1b\x9b\u202e\u2028\xa0\x7f07nc")
)


def argument_list(command: str, shell: str) -> list[str]:
    """What a shell makes of a command."""
    script = f'curl() {{ printf "%s\\0" "$@"; }}\n{command}\n'
    done = subprocess.run([shell], input=script.encode(), capture_output=True, check=True)
    assert not done.stderr
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "body",
    [
        '{"a": "it\'s $HOME `id` \\\\ !"}',
        '{"a":"zwölf\u202e\u200b"}',
        '{"a":\n"\x1b[31m\x9b"}',
        '{"a": "100 %s\xa07\\\\0407\u2028"}\n\n',
        "\n",
        "",
    ],
)
def test_a_copy_gives_a_shell_what_was_sent(body: str, shell: str) -> None:
    secret = "a secret of mine"  # noqa: S105  made up for this test
    headers = {"webhook-id": "e", "x-webhook-signature": "sha256=0", "content-length": "3"}
    copy = copying.curl("http://h/?a=1&b='", headers, body, copying.Signing(secret, 5))
    sent = argument_list(copy.command, shell)

    assert sent[:4] == ["-i", "-X", "POST", "http://h/?a=1&b='"]
    assert sent[-2:] == ["--data-raw", body]
    assert f"x-webhook-signature: {sign_body(key_bytes(secret), body.encode())}" in sent
    assert not any("content-length" in each for each in sent)
    assert (copy.without, copy.masked) == ((), ())


@pytest.mark.parametrize("shell", SHELLS)
@settings(deadline=None)
@given(sent=st.lists(SENT, min_size=1, max_size=9))
def test_every_shell_reads_a_copy_and_no_terminal_obeys_it(shell: str, sent: list[str]) -> None:
    copy = copying.curl("http://h", {f"x-{n}": each for n, each in enumerate(sent)}, sent[0], None)

    assert copy.command.replace("\n", "").isprintable()
    assert argument_list(copy.command, shell) == [
        *("-i", "-X", "POST", "http://h"),
        *(part for n, each in enumerate(sent) for part in ("-H", f"x-{n}: {each}")),
        *("--data-raw", sent[0]),
    ]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("more", ["x", "\xa0'%s\\\\7\n\n"])
def test_a_body_that_is_too_long_for_an_argument_is_piped(shell: str, more: str) -> None:
    body = f"@{'x' * 131_072}{more}"
    command = copying.curl("http://h", {"x-a": "b"}, body, None).command
    script = f"curl() {{ printf '%s ' \"$@\"; cat; }}\n{command}\n"
    done = subprocess.run([shell], input=script.encode(), capture_output=True, check=True)

    assert command.replace("\n", "").isprintable()
    assert not done.stderr
    assert done.stdout.decode() == f"-i -X POST http://h -H x-a: b --data-binary @- {body}"


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 3), (403, 3), (404, 4), (410, 4), (409, 5), (422, 2), (413, 2), (429, 6), (503, 6)],
)
def test_a_refusal_has_its_exit_code(status: int, code: int) -> None:
    assert of_status(status) == code


@pytest.mark.parametrize(
    "database", ["", "sqlite:///./data/ringback.db", "sqlite:///mine/x.db", "postgresql://h/d"]
)
def test_the_admin_key_is_looked_for_where_the_service_puts_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"RINGBACK_DATABASE_URL": database, "RINGBACK_ENCRYPTION_KEYS": f"k1:{'A' * 43}="}
    folder = load(environ).data_folder
    assert client.admin_key(environ) is None
    folder.mkdir()
    (folder / "admin.key").write_text("rb_1\n")

    assert client.admin_key(environ) == "rb_1"
    assert client.admin_key({**environ, "RINGBACK_ADMIN_KEY": "rb_2"}) == "rb_2"


@pytest.mark.parametrize(
    ("url", "is_given"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://127.0.0.1@example.com", False),
    ],
)
def test_a_key_that_lies_here_goes_nowhere_else(
    url: str, *, is_given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGBACK_ADMIN_KEY", "rb_1")

    assert vars(client.connect(url))["_key"] == ("rb_1" if is_given else None)


@pytest.mark.parametrize(
    "url", ["", "localhost:1", "ftp://h", "http://", "http://h:0", "http://\n"]
)
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(CommandError) as told:
        client.connect(url)

    assert told.value.code is Exit.MISUSE


def test_the_variables_of_the_command_line_are_no_faults_of_the_services() -> None:
    assert load({"RINGBACK_URL": "http://h", "RINGBACK_API_KEY": "rb_1"}) == load({})


@pytest.mark.parametrize("encoding", [None, "base64"])
def test_a_response_that_is_no_text_is_said_to_be_shown_otherwise(
    capsys: pytest.CaptureFixture[str], encoding: str | None
) -> None:
    response = ResponseDetail({}, "/w==", body_truncated=False, body_encoding=encoding)
    trial = exact.loads(msgspec.json.encode({"response": response}).decode())

    Out(Form.TABLE).one(trial, TRIAL_CARD)

    said = "response is in\tbase64, since it is not text\n"
    assert capsys.readouterr().out == "response\t/w==\n" + (said if encoding else "")
