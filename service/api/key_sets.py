"""Public keys that receivers verify ``v1a`` signatures with."""

import base64
import re
from typing import Final
from urllib.parse import urlencode

from service.api.routing import Action
from service.api.services import Services
from service.domain.errors import Refusal
from service.domain.key_set import KeySet, jwk_of
from service.domain.signature import public_key_text
from service.web import answers, etags, queries
from service.web.answers import Answer
from service.web.calls import Call

_PATH: Final = "/.well-known/jwks.json"
#: Keys in one answer: about 90 KB.
_PAGE: Final = 500
#: A key that is new signs beside the one before it, so a set this old still verifies.
_HEADERS: Final = (("cache-control", "public, max-age=300"),)
#: 32 bytes in base64url: the ``x`` of the last key.
CURSOR: Final = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
_CURSOR: Final = re.compile(CURSOR)


def _key(value: str) -> str:
    """The public key that a cursor is."""
    if _CURSOR.fullmatch(value) is None:
        raise ValueError("is not a cursor of this set; leave it out to start at the beginning")
    return public_key_text(base64.urlsafe_b64decode(value + "="))


_READERS: Final = {"subscriptionId": queries.text, "cursor": _key}


class KeySets:
    """The handler of the key set; it asks for no key, as nothing in it is secret."""

    def __init__(self, services: Services) -> None:
        self._keys = services.public_keys
        self._address = f"{services.settings.public_url}{_PATH}"

    def actions(self) -> list[Action]:
        """Where the keys are."""
        return [Action("GET", _PATH, None, self.get)]

    async def get(self, call: Call) -> Answer | Refusal:
        """The keys of a subscription, or of all. One that nobody knows has none, as most have."""
        asked = queries.read(call.request, _READERS)
        if isinstance(asked, Refusal):
            return asked
        subscription = asked.get("subscriptionId")
        found = await self._keys.public_keys(subscription, asked.get("cursor", ""), _PAGE + 1)
        keys = [jwk_of(each) for each in found[:_PAGE]]
        answer = answers.of(KeySet(keys))
        if len(found) > _PAGE:
            query = {"subscriptionId": subscription} if subscription else {}
            next_ = f"{self._address}?{urlencode({**query, 'cursor': keys[-1].x})}"
            answer = answers.with_headers(answer, ("link", f'<{next_}>; rel="next"'))
        return etags.conditional(call.request, answer, *_HEADERS)
