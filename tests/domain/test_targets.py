"""The address policy: what may never be called, by whatever spelling."""

# ruff: noqa: S104 - 0.0.0.0 is compared with, not listened on

from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.targets import NOT_ALLOWED, Target, TargetPolicy, check_address, parse_target
from service.sender.names import to_ascii
from tests.support.corpus import (
    FINE_ADDRESSES,
    FINE_URLS,
    FORBIDDEN_ADDRESSES,
    FORBIDDEN_URLS,
    NO_ADDRESSES,
)
from tests.support.hostile_urls import carriers, spellings

STRICT = TargetPolicy()
WITH_HTTP = TargetPolicy(allow_http=True)


def test_the_tables_are_large() -> None:
    assert len({*FORBIDDEN_URLS}) + len({*FORBIDDEN_ADDRESSES}) >= 180
    assert len(FINE_URLS) + len(FINE_ADDRESSES) >= 60


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_a_forbidden_url_is_refused_with_a_sentence(url: str) -> None:
    fault = parse_target(url, STRICT, to_ascii)
    assert isinstance(fault, str)
    assert fault.endswith(".")


@pytest.mark.parametrize("url", [url for url in FORBIDDEN_URLS if url[:5] == "https"])
def test_allowing_http_opens_nothing_else(url: str) -> None:
    assert isinstance(parse_target("http" + url[5:], WITH_HTTP, to_ascii), str)


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_forbidden_address_is_refused_at_both_gates(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert parse_target(f"https://{host}/", STRICT, to_ascii) == NOT_ALLOWED
    assert not check_address(address, 443, STRICT, "example.com")


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_plain_address_is_refused(address: str) -> None:
    everything = TargetPolicy(allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert not check_address(address, 443, everything)


@pytest.mark.parametrize(("url", "canonical"), FINE_URLS)
def test_a_fine_url_passes_in_its_canonical_form(url: str, canonical: str) -> None:
    target = parse_target(url, STRICT, to_ascii)
    assert isinstance(target, Target)
    assert target.url == canonical
    assert parse_target(canonical, STRICT, to_ascii) == target


@pytest.mark.parametrize("address", FINE_ADDRESSES)
def test_a_public_address_passes(address: str) -> None:
    assert check_address(address, 443, STRICT, "example.com")
    assert not check_address(address, 25, STRICT, "example.com")


def test_http_needs_leave_and_says_so() -> None:
    assert "RINGBACK_ALLOW_HTTP" in str(parse_target("http://example.com/", STRICT, to_ascii))
    target = parse_target("http://example.com/x", WITH_HTTP, to_ascii)
    assert target == Target("http", "example.com", 80, "/x")


def test_an_allowed_network_is_open_on_every_port() -> None:
    policy = TargetPolicy(allow_networks=(ip_network("10.1.0.0/16"),))
    assert check_address("10.1.2.3", 22, policy)
    assert not check_address("10.2.2.3", 443, policy)
    assert isinstance(parse_target("https://10.1.2.3:22/", policy, to_ascii), Target)
    assert parse_target("https://10.2.2.3/", policy, to_ascii) == NOT_ALLOWED
    # The name may turn out to lie in that network; the address is judged when it is known.
    assert isinstance(parse_target("https://inside.example:22/", policy, to_ascii), Target)
    assert not check_address("8.8.8.8", 22, policy, "inside.example")


def test_an_allowed_network_does_not_open_addresses_that_embed_its_own() -> None:
    policy = TargetPolicy(allow_networks=(ip_network("127.0.0.0/8"),))
    assert not check_address("::ffff:127.0.0.1", 443, policy)
    assert not check_address("64:ff9b::7f00:1", 443, policy)


EVERYTHING = TargetPolicy(allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))


@pytest.mark.parametrize(
    ("address", "inner"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:0:10.0.0.1", "10.0.0.1"),
        ("64:ff9b::10.0.0.1", "10.0.0.1"),
        ("64:ff9b:1::10.0.0.1", "10.0.0.1"),
        ("2002:a00:1::5", "10.0.0.1"),
        ("2001:0:808:808:0:0:f5ff:fffe", "10.0.0.1"),
        ("2a00:1450::5efe:a00:1", "10.0.0.1"),
        ("2a00:1450::200:5efe:a00:1", "10.0.0.1"),
    ],
)
def test_an_address_that_carries_another_needs_leave_for_both(address: str, inner: str) -> None:
    """To allow all of IPv6, or the prefix of a NAT64, opens nothing behind a translation."""
    outer = TargetPolicy(allow_networks=(ip_network("::/0"),))
    assert not check_address(address, 443, outer)
    both = TargetPolicy(allow_networks=(ip_network("::/0"), ip_network(inner)))
    assert check_address(address, 443, both)
    assert check_address(address, 443, EVERYTHING)
    named = TargetPolicy(allow_hosts=frozenset({(f"[{address}]", 443)}))
    assert check_address(address, 443, named)


def test_a_nat64_that_is_allowed_leads_to_public_addresses() -> None:
    policy = TargetPolicy(allow_networks=(ip_network("64:ff9b::/96"),))
    assert check_address("64:ff9b::8.8.8.8", 443, policy)
    assert not check_address("64:ff9b::8.8.8.8", 25, policy)
    assert not check_address("64:ff9b::169.254.169.254", 443, policy)


def test_an_allowed_host_is_open_on_its_port_only() -> None:
    policy = TargetPolicy(allow_hosts=frozenset({("Inside.Example.", 22), ("[::1]", 9000)}))
    assert isinstance(parse_target("https://inside.example:22/", policy, to_ascii), Target)
    assert check_address("10.0.0.1", 22, policy, "inside.example")
    assert not check_address("10.0.0.1", 443, policy, "inside.example")
    assert not check_address("10.0.0.1", 22, policy, "other.example")
    assert isinstance(parse_target("https://[::1]:9000/", policy, to_ascii), Target)
    assert parse_target("https://[::1]:9001/", policy, to_ascii) == NOT_ALLOWED


def test_allowing_one_loopback_network_opens_localhost() -> None:
    policy = TargetPolicy(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))
    assert isinstance(parse_target("http://localhost:9000/", policy, to_ascii), Target)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8080/",
        "https://127.9.9.9:8080/",
        "https://localhost:8080/",
        "https://[::1]:8080/",
        "https://0.0.0.0:8080/",
        "https://hooks.example/v1/events",
    ],
)
def test_nothing_allows_calling_oneself(url: str) -> None:
    policy = TargetPolicy(
        allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        allow_hosts=frozenset({("localhost", 8080), ("hooks.example", 443)}),
        deny_self=frozenset({("::", 8080), ("hooks.example", 443)}),
    )
    assert "Ringback itself" in str(parse_target(url, policy, to_ascii))
    assert not check_address("127.0.0.1", 8080, policy, "other.example")
    assert not check_address("93.184.216.34", 443, policy, "hooks.example")
    assert check_address("127.0.0.1", 9000, policy)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "127.0.0.1", "192.0.2.9"]
)
def test_oneself_is_not_called_through_another_form_of_the_address(host: str) -> None:
    policy = TargetPolicy(
        allow_networks=EVERYTHING.allow_networks,
        deny_self=frozenset({("127.0.0.1", 8080), ("192.0.2.9", 8080)}),
    )
    assert not check_address(host, 8080, policy)
    assert check_address(host, 8081, policy)
    assert check_address("192.0.2.10", 8080, policy)


def test_what_listens_everywhere_is_asked_which_addresses_it_has() -> None:
    asked = []

    def has_address(address: str) -> bool:
        asked.append(address)
        return address == "93.184.216.34"

    policy = TargetPolicy(deny_self=frozenset({("0.0.0.0", 8080)}), has_address=has_address)
    assert not check_address("93.184.216.34", 8080, policy, "hooks.example")
    assert check_address("93.184.216.35", 8080, policy, "hooks.example")
    assert check_address("93.184.216.34", 8443, policy, "hooks.example")
    assert asked == ["93.184.216.34", "93.184.216.35"]
    assert "Ringback itself" in str(parse_target("https://93.184.216.34:8080/", policy, to_ascii))


def test_where_one_listens_inside_is_not_told() -> None:
    policy = TargetPolicy(deny_self=frozenset({("10.0.0.1", 8080)}))
    for host in ("10.0.0.1", "10.0.0.2"):
        assert parse_target(f"https://{host}:8080/", policy, to_ascii) == NOT_ALLOWED


def test_a_host_that_cannot_be_encoded_is_refused() -> None:
    assert isinstance(parse_target("https://bücher.example/", STRICT, lambda _: None), str)


DENIED_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4",
]  # fmt: skip


@st.composite
def denied_v4(draw: st.DrawFn) -> IPv4Address:
    network = IPv4Network(draw(st.sampled_from(DENIED_V4)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@given(denied_v4())
def test_no_spelling_of_a_denied_address_passes(ip: IPv4Address) -> None:
    for host in spellings(ip):
        assert isinstance(parse_target(f"https://{host}/", STRICT, to_ascii), str), host


@given(st.one_of(denied_v4(), st.ip_addresses(v=4)))
def test_no_address_that_carries_another_passes(ip: IPv4Address) -> None:
    for carrier in carriers(ip):
        assert not check_address(str(carrier), 443, STRICT), carrier
        assert not check_address(carrier.exploded, 443, STRICT), carrier
        assert isinstance(parse_target(f"https://[{carrier}]/", STRICT, to_ascii), str), carrier


@given(st.text())
def test_any_text_gets_a_verdict(text: str) -> None:
    assert isinstance(parse_target(text, STRICT, to_ascii), str | Target)


@given(st.text(max_size=40))
def test_a_host_that_passes_is_plain_ascii(text: str) -> None:
    target = parse_target(f"https://{text}", STRICT, to_ascii)
    if isinstance(target, Target):
        assert target.url.isascii()
        assert not set(target.host) & set(" @%/\\#?")
