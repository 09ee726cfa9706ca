"""The test vectors of service/docs, made of fixed inputs by the service's own signing.

``python -m tests.support.vectors`` writes the file, and a test compares it with these.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from service.domain.signature import (
    TOLERANCE,
    Sign,
    key_bytes,
    new_secret,
    public_key_text,
    sign_body,
    sign_standard,
)
from service.vault import ed25519

FILE: Final = Path(__file__).parents[2] / "service" / "docs" / "pages" / "vectors.json"

NOW: Final = 1_795_235_073
SECRET: Final = new_secret(bytes(range(32)))
OTHER: Final = new_secret(bytes(range(32, 64)))
PLAIN: Final = "a secret that somebody chose"
SEED: Final = bytes(range(64, 96))
OTHER_SEED: Final = bytes(range(96, 128))
ID: Final = "evt_0653be4ce6e000016a41976f"
BODY: Final = (
    '{"id":"evt_0653be4ce6e000016a41976f","type":"COMPLETED",'
    '"timestamp":"2026-11-21T04:24:33.847Z","operationId":"job-1","sequence":1,'
    '"status":"COMPLETED"}'
)
EXACT: Final = '{"price":1.10,"huge":1e400,"exact":12345678901234567890.1234567, "space" : ""}'
FOREIGN: Final = '{"message":"grün, 緑, \N{LARGE GREEN CIRCLE}","city":"Zürich"}'
TRAP: Final = '{"note":"a.b.c, v1,v1 \\u0000 %00 \\n"}\n'

Vector = dict[str, Any]


def signed(*secrets: str, body: str = BODY, timestamp: int = NOW, name: str = ID) -> str:
    """The value of ``webhook-signature``."""
    return sign_standard([key_bytes(each) for each in secrets], name, timestamp, body.encode())


def signed_text(timestamp: str) -> str:
    """A good signature with a timestamp that the service would not write."""
    digest = sign_body(key_bytes(SECRET), f"{ID}.{timestamp}.{BODY}".encode())
    return f"v1,{base64.b64encode(bytes.fromhex(digest.removeprefix('sha256='))).decode()}"


def vector(name: str, why: str, *, genuine: bool, **changes: Any) -> Vector:  # noqa: ANN401 (any member)
    """A delivery that is good, but for the changes."""
    members: Vector = {
        "secret": SECRET,
        "now": NOW,
        "id": ID,
        "timestamp": str(NOW),
        "signature": signed(SECRET),
        "body": BODY,
        **changes,
    }
    named = {f"webhook-{each}": members.pop(each) for each in ("id", "timestamp", "signature")}
    headers = {header: text for header, text in named.items() if text is not None}
    return {"name": name, "why": why, "genuine": genuine, "headers": headers, **members}


def good() -> Iterator[Vector]:
    """What a receiver has to take."""

    def take(name: str, why: str, **changes: Any) -> Vector:  # noqa: ANN401 (any member)
        return vector(name, why, genuine=True, **changes)

    yield take("plain", "signed with the secret, just now")
    for name, why, body in (
        ("empty body", "no bytes are bytes too", ""),
        ("not ASCII", "the signature is over the UTF-8 bytes", FOREIGN),
        ("exact bytes", "numbers and blanks that no JSON writer would write again so", EXACT),
        ("dots and commas", "only the first two dots part id, timestamp and body", TRAP),
    ):
        yield take(name, why, body=body, signature=signed(SECRET, body=body))
    both = signed(OTHER, SECRET)
    yield take(
        "rotation, new secret", "two signatures, the first is its", signature=both, secret=OTHER
    )
    yield take("rotation, old secret", "two signatures, the second is its", signature=both)
    strange = f"v2,{'A' * 44} {signed(SECRET)} v1a,{'A' * 86}=="
    yield take("unknown versions", "they are passed over", signature=strange)
    broken = f"v1 v1, , v1,* {signed(SECRET)}"
    yield take("broken entries", "they are passed over too", signature=broken)
    chosen = {"secret": PLAIN, "signature": signed(PLAIN)}
    yield take("a secret of one's own", "without whsec_ the key is its UTF-8 bytes", **chosen)
    for name, at in (("oldest", NOW - TOLERANCE), ("newest", NOW + TOLERANCE)):
        why = f"{TOLERANCE} seconds off are not too many"
        yield take(name, why, timestamp=str(at), signature=signed(SECRET, timestamp=at))


def bad() -> Iterator[Vector]:
    """What a receiver has to refuse."""

    def refuse(name: str, why: str, **changes: Any) -> Vector:  # noqa: ANN401 (any member)
        return vector(name, why, genuine=False, **changes)

    yield refuse("changed body", "one character was changed", body=BODY.replace("job-1", "job-2"))
    yield refuse("longer body", "a line break was added", body=f"{BODY}\n")
    yield refuse("body written again", "parsed and written anew", body=BODY.replace(",", ", "))
    yield refuse("no body", "the body is gone", body="")
    yield refuse("other id", "the id is signed too", id="evt_another")
    yield refuse("other timestamp", "the timestamp is signed too", timestamp=str(NOW - 1))
    yield refuse("other secret", "another secret signed it", signature=signed(OTHER))
    for name, at in (("too old", NOW - TOLERANCE - 1), ("too new", NOW + TOLERANCE + 1)):
        why = f"well signed, but more than {TOLERANCE} seconds off"
        yield refuse(name, why, timestamp=str(at), signature=signed(SECRET, timestamp=at))
    for text in ("soon", f"+{NOW}", f"{NOW}.0", f"{NOW}e0", "0x6b010001", "9" * 30, ""):
        name = f"timestamp {text[:13]!r}"
        why = "well signed, but no number of seconds"
        yield refuse(name, why, timestamp=text, signature=signed_text(text))
    for header in ("id", "timestamp", "signature"):
        yield refuse(f"no {header}", "the header is missing", **{header: None})
    own = signed(SECRET)
    for name, why, text in (
        ("empty signature", "nothing signed it", ""),
        ("only commas", "no entry has a signature", ", ,, v1 v1,"),
        ("no version", "a signature without v1", own.removeprefix("v1,")),
        (
            "other version",
            "the right bytes under a version that is not v1",
            own.replace("v1,", "v2,"),
        ),
        ("upper case", "versions are lower case", own.replace("v1,", "V1,")),
        ("shorter", "the last characters are cut off", own[:-4]),
        ("longer", "bytes were added", f"v1,{_longer(own)}"),
        ("not base64", "characters that base64 does not have", f"v1,{'*' * 44}"),
        ("hex", "the digest in hex instead of base64", f"v1,{_hex(own)}"),
    ):
        yield refuse(name, why, signature=text)


def asymmetric() -> Iterator[Vector]:
    """Deliveries that a key signed instead of a secret."""
    key = public_key_text(ed25519.public_key(SEED))
    sign, other = ed25519.signer(SEED), ed25519.signer(OTHER_SEED)

    def made(name: str, why: str, signature: str, *, genuine: bool, body: str = BODY) -> Vector:
        shown = vector(name, why, genuine=genuine, signature=signature, body=body)
        del shown["secret"]
        return {**shown, "publicKey": key}

    yield made("plain", "signed with the key, just now", keyed(sign), genuine=True)
    rotating = keyed(other, sign)
    yield made("rotation", "two keys signed, the second is its", rotating, genuine=True)
    both = sign_standard([key_bytes(SECRET)], ID, NOW, BODY.encode(), [sign])
    yield made("both", "a secret signed as well", both, genuine=True)
    foreign = sign_standard([], ID, NOW, FOREIGN.encode(), [sign])
    yield made("not ASCII", "the UTF-8 bytes are signed", foreign, genuine=True, body=FOREIGN)
    yield made("other key", "another key signed it", keyed(other), genuine=False)
    yield made("changed body", "a blank was added", keyed(sign), genuine=False, body=f"{BODY} ")
    as_secret = keyed(sign).replace("v1a,", "v1,")
    yield made("wrong version", "the right bytes as v1", as_secret, genuine=False)
    yield made("shorter", "characters are cut off", keyed(sign)[:-4], genuine=False)
    yield made("not base64", "characters that base64 does not have", "v1a,*", genuine=False)
    yield made("secret alone", "no key signed it", signed(SECRET), genuine=False)


def keyed(*signers: Sign) -> str:
    """The value of ``webhook-signature`` of keys alone."""
    return sign_standard([], ID, NOW, BODY.encode(), signers)


def document() -> Vector:
    """All of them, as they are written."""
    return {
        "about": "Deliveries to test a receiver with: it takes those that are genuine, at the time"
        " `now` (unix seconds), and refuses the others. `body` is sent as UTF-8.",
        "tolerance": TOLERANCE,
        "vectors": [*good(), *bad()],
        "ed25519": list(asymmetric()),
    }


def text() -> str:
    """The file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _longer(entry: str) -> str:
    return base64.b64encode(base64.b64decode(entry.removeprefix("v1,")) + bytes(4)).decode()


def _hex(entry: str) -> str:
    return base64.b64decode(entry.removeprefix("v1,")).hex()


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
