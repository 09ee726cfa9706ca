"""Absolute addresses of what the API shows."""

from typing import Final
from urllib.parse import quote

#: Where each kind of thing is.
_OPERATIONS: Final = "/v1/operations"
_SUBSCRIPTIONS: Final = "/v1/subscriptions"
_DELIVERIES: Final = "/v1/deliveries"


class Links:
    """Makes addresses under the public URL."""

    def __init__(self, public_url: str) -> None:
        self.base = public_url

    def operation(self, name: str) -> str:
        """Where an operation is."""
        return f"{self.base}{_OPERATIONS}/{quote(name)}"

    def websocket(self, name: str) -> str:
        """Where an operation's events come as WebSocket messages."""
        scheme, _, rest = self.operation(name).partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/status"

    def subscription(self, name: str) -> str:
        """Where a subscription is."""
        return f"{self.base}{_SUBSCRIPTIONS}/{quote(name)}"

    def delivery(self, name: str) -> str:
        """Where a delivery is."""
        return f"{self.base}{_DELIVERIES}/{quote(name)}"
