"""Absolute addresses of what the API shows."""

from typing import Final
from urllib.parse import quote

#: Where each kind of thing is.
_OPERATIONS: Final = "/v1/operations"
_SUBSCRIPTIONS: Final = "/v1/subscriptions"
_DELIVERIES: Final = "/v1/deliveries"
_API_KEYS: Final = "/v1/api-keys"
_TENANTS: Final = "/v1/tenants"
_PORTAL: Final = "/portal/enter"


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

    def api_key(self, name: str) -> str:
        """Where a key is."""
        return f"{self.base}{_API_KEYS}/{quote(name)}"

    def tenant(self, name: str) -> str:
        """Where a tenant is."""
        return f"{self.base}{_TENANTS}/{quote(name)}"

    def portal(self, secret: str) -> str:
        """What opens the portal. Browsers send no fragment: no log and no Referer ever has it."""
        return f"{self.base}{_PORTAL}#{secret}"
