"""Public keys as RFC 7517 and RFC 8037 have them."""

import base64

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.domain.key_set import KeySet, jwk_of
from service.domain.signature import public_key_text


def test_the_example_of_rfc_8037() -> None:
    jwk = jwk_of("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")

    assert msgspec.to_builtins(KeySet([jwk])) == {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",  # appendix A.1
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",  # appendix A.3
                "use": "sig",
                "alg": "EdDSA",
            }
        ]
    }


@given(st.binary(min_size=32, max_size=32))
def test_it_holds_the_key_and_nothing_of_whose_it_is(key: bytes) -> None:
    jwk = jwk_of(public_key_text(key))

    assert base64.urlsafe_b64decode(jwk.x + "=") == key
    assert jwk == jwk_of(public_key_text(key))
