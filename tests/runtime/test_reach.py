"""By what addresses the service would call itself, on a machine as it is."""

# ruff: noqa: S104 - 0.0.0.0 is a setting here, nothing listens

import pytest

from service.domain.targets import TargetPolicy, check_address, parse_target
from service.runtime.reach import has_address, target_policy
from service.sender import to_ascii
from service.settings import load
from tests.support.canaries import own_addresses

ANYWHERE = {"RINGBACK_ALLOW_HTTP": "true", "RINGBACK_ALLOW_TARGETS": "0.0.0.0/0,::/0"}


def policy(**settings: str) -> TargetPolicy:
    return target_policy(load({**ANYWHERE, **settings}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0", "127.1"])
@pytest.mark.parametrize(
    "target", ["127.0.0.1", "localhost", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"]
)
def test_what_listens_on_loopback_is_not_called_by_any_name_of_it(host: str, target: str) -> None:
    fault = parse_target(f"http://{target}:8080/", policy(RINGBACK_HOST=host), to_ascii)
    assert "Ringback itself" in str(fault)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_what_listens_everywhere_is_not_called_at_any_address_of_this_machine(host: str) -> None:
    rules = policy(RINGBACK_HOST=host)
    for address in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1", *own_addresses()]:
        assert not check_address(address, 8080, rules, "hooks.example"), address
        assert check_address(address, 8081, rules, "hooks.example"), address
        name = f"[{address}]" if ":" in address else address
        assert "Ringback itself" in str(parse_target(f"http://{name}:8080/", rules, to_ascii))
    assert check_address("8.8.8.8", 8080, rules, "hooks.example")


def test_what_listens_inside_is_not_told_to_those_who_may_not_call_there() -> None:
    strict = target_policy(load({"RINGBACK_HOST": "10.1.2.3"}))
    verdicts = {
        parse_target(f"https://{host}:8080/", strict, to_ascii) for host in ("10.1.2.3", "10.1.2.4")
    }
    assert len(verdicts) == 1


@pytest.mark.parametrize(
    ("public", "url"),
    [
        ("https://hooks.example", "https://HOOKS.example./v1/events"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443/"),
        ("https://xn--bcher-kva.example", "https://bücher.example/"),
        ("http://[2a00::1]", "http://[2a00:0::0:1]/"),
    ],
)
def test_where_the_service_is_known_is_not_called(public: str, url: str) -> None:
    verdict = parse_target(url, policy(RINGBACK_PUBLIC_URL=public), to_ascii)
    assert "Ringback itself" in str(verdict)


def test_only_this_machines_addresses_are_its_own() -> None:
    assert has_address("127.0.0.1")
    assert all(map(has_address, own_addresses()))
    assert not any(
        map(has_address, ["8.8.8.8", "192.0.2.77", "2a00:1450:4001:81b::200e", "fe80::1"])
    )
