"""The programs of the page on signatures say of every test vector what it says of itself."""

import base64
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from freezegun import freeze_time
from standardwebhooks import Webhook, WebhookVerificationError

from service.domain.signature import key_bytes, verify_standard
from tests.readme.conftest import surroundings
from tests.support import vectors
from tests.support.guides import CRATES, FOLDER, KEYED, LANGUAGES, SIGNATURES, Language, homes

DOCUMENT: Final = vectors.document()
SIGNED: Final[list[dict[str, Any]]] = DOCUMENT["vectors"]
BY_KEY: Final[list[dict[str, Any]]] = DOCUMENT["ed25519"]
NAMES: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


def line(vector: dict[str, Any]) -> str:
    """What a judge reads: six fields in base64."""
    key = vector.get("secret") or vector["publicKey"]
    named = [vector["headers"].get(name, "") for name in NAMES]
    texts = (key, str(vector["now"]), *named, vector["body"])
    return ",".join(base64.b64encode(each.encode()).decode() for each in texts)


def run(command: Sequence[str], folder: Path, text: str = "") -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**surroundings(), **homes(folder)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_crates(folder: Path) -> bool:
    look = ["cargo", "fetch", "--locked", "--offline"]
    return subprocess.run(look, cwd=folder, capture_output=True, check=False).returncode != 0


def judged(language: Language, given: list[dict[str, Any]], folder: Path) -> dict[str, bool]:
    """What the program says, by the vector's name."""
    if language.missing:
        pytest.skip(language.missing)
    language.write(folder)
    if "Cargo.toml" in language.blocks and without_crates(folder):
        pytest.skip("the crates are not in cargo's cache; `make test` fetches them where it can")
    if language.build:
        run(language.build, folder)
    said = run(language.judge, folder, "".join(f"{line(each)}\n" for each in given)).split()
    assert set(said) == {"true", "false"}
    return {each["name"]: word == "true" for each, word in zip(given, said, strict=True)}


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_a_language_takes_and_refuses_what_it_should(language: Language, tmp_path: Path) -> None:
    expected = {each["name"]: each["genuine"] for each in SIGNED}

    assert judged(language, SIGNED, tmp_path) == expected


@pytest.mark.parametrize("language", KEYED, ids=lambda language: language.name)
def test_so_it_does_with_keys(language: Language, tmp_path: Path) -> None:
    expected = {each["name"]: each["genuine"] for each in BY_KEY}

    assert judged(language, BY_KEY, tmp_path) == expected


@pytest.mark.skipif(find_spec("deno") is None, reason="there is no wheel of Deno for this machine")
def test_what_came_with_the_lock_is_found() -> None:
    (typescript,) = (each for each in LANGUAGES if each.name == "TypeScript")

    assert not typescript.missing


def test_every_language_of_the_page_is_one_of_these() -> None:
    sections = re.findall(r"^## (.+)$", SIGNATURES.without_code, re.MULTILINE)
    files = {name for _, name, _ in SIGNATURES.fenced if name.lower().startswith("verify.")}

    assert {language.name for language in LANGUAGES} <= set(sections)
    assert files == {language.blocks[-1] for language in LANGUAGES} - {"verify_key.go"} | {
        "verify.go"
    }


def test_the_crates_of_the_page_are_those_that_are_pinned() -> None:
    wanted = SIGNATURES.block("Cargo.toml")
    locked = tomllib.loads((CRATES / "Cargo.lock").read_text())["package"]

    assert (CRATES / "Cargo.toml").read_text() == wanted
    assert tomllib.loads(wanted)["dependencies"].keys() <= {each["name"] for each in locked}
    assert all(each["name"] == "webhook" or "checksum" in each for each in locked)


# --- the vectors


def test_the_file_holds_what_the_service_signs() -> None:
    assert vectors.FILE.read_text("utf-8") == vectors.text()


@pytest.mark.parametrize("vector", SIGNED, ids=lambda vector: vector["name"])
def test_the_service_judges_a_vector_so(vector: dict[str, Any]) -> None:
    keys, body = [key_bytes(vector["secret"])], vector["body"].encode()

    fault = verify_standard(keys, vector["headers"], body, vector["now"])
    assert (fault is None) == vector["genuine"]


def standard(vector: dict[str, Any]) -> bool:
    """What the library of Standard Webhooks says."""
    webhook = Webhook(key_bytes(vector["secret"]))
    with freeze_time("1970-01-01") as clock:
        clock.tick(vector["now"])
        try:
            webhook.verify(vector["body"], vector["headers"], json_parse=False)
        except WebhookVerificationError:
            return False
        except ValueError:  # it trips over entries without a comma or base64
            return False
    return True


#: Where that library is stricter than its specification, or raises.
STUMBLES: Final = {"broken entries"}


@pytest.mark.parametrize("vector", SIGNED, ids=lambda vector: vector["name"])
def test_the_library_of_standard_webhooks_judges_a_vector_so(vector: dict[str, Any]) -> None:
    if vector["name"] not in STUMBLES:
        assert standard(vector) == vector["genuine"]


def test_vectors_have_names_of_their_own_and_both_verdicts() -> None:
    for given in (SIGNED, BY_KEY):
        names = [each["name"] for each in given]
        assert len(set(names)) == len(names)
        assert {each["genuine"] for each in given} == {True, False}
    bodies = [each["body"] for each in SIGNED if each["genuine"]]
    assert "" in bodies
    assert any(not body.isascii() for body in bodies)


def test_the_test_on_the_page_passes(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "vectors.json", tmp_path)
    for name in ("verify.py", "vectors_test.py"):
        (tmp_path / name).write_text(SIGNATURES.block(name))

    assert f"{len(SIGNED)} vectors" in run(["python3", "vectors_test.py"], tmp_path)
