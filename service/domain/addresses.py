"""Addresses: what is public, by an explicit deny list, and what IPv4 address is within an IPv6 one.

``ipaddress.is_global`` is deliberately not used: it says yes to ``64:ff9b::7f00:1``,
``::127.0.0.1``, ``224.0.0.1`` and ``168.63.129.16``.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address

_DENIED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this" network; Linux takes 0.0.0.0 for loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT, and Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server, a public address reachable from inside only
        "169.254.0.0/16",  # link-local, and most clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # All of IPv6 but 2000::/3, the only part given out as global unicast. So ::1, fc00::/7,
        # fe80::/10, fec0::/10, ff00::/8, 100::/64 and 5f00::/16 are out, and with them the forms
        # that carry an IPv4 address: ::/96, ::ffff:0:0/96, ::ffff:0:0:0/96, 64:ff9b::/96 and
        # 64:ff9b:1::/48, even where the address they carry would be a public one.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # Teredo (carries IPv4), ORCHID, benchmarks and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4 (carries IPv4)
        "3fff::/20",
    )
)
_DENIED_V4 = tuple(net for net in _DENIED if isinstance(net, IPv4Network))
_DENIED_V6 = tuple(net for net in _DENIED if isinstance(net, IPv6Network))

#: The upper half of an ISATAP interface id; the lower half is an IPv4 address (RFC 5214).
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

#: Networks whose addresses are made of an IPv4 address, and how far it is shifted. Systems and
#: gateways turn a connection to one into a connection to the other.
_CARRIERS = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped: Linux calls the IPv4 address
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated (RFC 2765)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 with a prefix of the local network's (RFC 8215)
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def plain_ip(text: str) -> IPAddress | None:
    """The address that ``text`` is in its standard form; ``None`` for others, and with a zone."""
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    zoned = isinstance(ip, IPv6Address) and ip.scope_id is not None
    return None if zoned else ip


def is_public(ip: IPAddress) -> bool:
    """Whether it is an address of the public Internet and carries no other."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _DENIED_V4)
    return not _is_isatap(ip) and not any(ip in network for network in _DENIED_V6)


def carried(ip: IPAddress) -> IPv4Address | None:
    """The IPv4 address that a connection to ``ip`` may end at, if ``ip`` is made of one."""
    if isinstance(ip, IPv4Address):
        return None
    if ip.teredo is not None:
        return ip.teredo[1]
    shift = 0 if _is_isatap(ip) else next((by for net, by in _CARRIERS if ip in net), None)
    return None if shift is None else IPv4Address((int(ip) >> shift) & 0xFFFF_FFFF)


def _is_isatap(ip: IPv6Address) -> bool:
    return (int(ip) >> 32) & 0xFFFF_FFFF in _ISATAP
