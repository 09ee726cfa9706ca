"""Verifies ``v1a`` signatures as a receiver would, with nothing of the service's own."""

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.receiver import Received


def entries(request: Received) -> list[str]:
    """The versions of all signatures, in their order."""
    return [each.partition(",")[0] for each in request.headers["webhook-signature"].split(" ")]


def verifies(public_key: str, request: Received) -> bool:
    """Whether one of the ``v1a`` entries is of this ``whpk_`` key."""
    assert public_key.startswith("whpk_")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    head = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    for entry in request.headers["webhook-signature"].split(" "):
        version, _, signature = entry.partition(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(signature), head + request.body)
        except InvalidSignature:
            continue
        return True
    return False


def text_of(jwk: Mapping[str, Any]) -> str:
    """A key of a key set as Standard Webhooks writes it."""
    assert (jwk["kty"], jwk["crv"]) == ("OKP", "Ed25519")
    return "whpk_" + base64.b64encode(base64.urlsafe_b64decode(jwk["x"] + "=")).decode()
