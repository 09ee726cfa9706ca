"""Stream tickets as texts."""

import re

import pytest

from service.domain.tickets import TICKET_BYTES, new_ticket


def test_a_ticket_fits_into_a_query_as_it_is() -> None:
    assert re.fullmatch(r"tk_[A-Za-z0-9_-]{43}", new_ticket(b"\xff" * TICKET_BYTES))
    assert new_ticket(b"\x00" * TICKET_BYTES) != new_ticket(b"\x01" * TICKET_BYTES)


def test_a_ticket_needs_its_share_of_chance() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        new_ticket(b"short")
