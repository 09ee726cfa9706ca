"""Settings: defaults, every form of value, and faults that say how to mend them."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import AllowedTargets, Settings, SettingsError, load

DEFAULTS = {
    "RINGBACK_HOST": "127.0.0.1",
    "RINGBACK_PORT": "8080",
    "RINGBACK_DATABASE_URL": "sqlite:///./data/ringback.db",
    "RINGBACK_TRUST_DATABASE": "false",
    "RINGBACK_REDIS_URL": "",
    "RINGBACK_ADMIN_KEY": "",
    "RINGBACK_ENCRYPTION_KEYS": "",
    "RINGBACK_PUBLIC_URL": "http://127.0.0.1:8080",
    "RINGBACK_CORS_ORIGINS": "",
    "RINGBACK_ALLOW_HTTP": "false",
    "RINGBACK_ALLOW_TARGETS": "",
    "RINGBACK_RETRY_SCHEDULE": "0,5,300,1800,7200,18000,36000,50400,72000,86400",
    "RINGBACK_REQUEST_TIMEOUT": "20",
    "RINGBACK_OPERATION_TTL": "86400",
    "RINGBACK_RETENTION": "2592000",
    "RINGBACK_MAX_EVENT_BYTES": "262144",
    "RINGBACK_MAX_PENDING": "0",
    "RINGBACK_BREAKER": "on",
    "RINGBACK_RATE_LIMIT": "0",
}


def faults(**variables: str) -> tuple[str, ...]:
    """What is said of an environment; names without their prefix."""
    with pytest.raises(SettingsError) as refused:
        load({f"RINGBACK_{name}": text for name, text in variables.items()})
    return refused.value.faults


def test_the_defaults_are_the_documented_ones() -> None:
    assert {row.name: row.value for row in load({}).describe()} == DEFAULTS


def test_described_values_can_be_fed_back() -> None:
    described = {row.name: row.value for row in load({}).describe()}

    assert load(described) == load({})


def test_other_variables_and_the_process_environment_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RINGBACK_PORT", "9999")

    assert load({"PATH": "/bin", "PORT": "1", "port": "2"}).port == 8080


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = load({"RINGBACK_PORT": "", "RINGBACK_RETRY_SCHEDULE": " "})

    assert settings == load({})
    assert {row.origin for row in settings.describe()} == {"default"}


def test_settings_are_frozen() -> None:
    settings = load({})

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc] # what this test is about


def test_settings_name_their_origin() -> None:
    rows = {row.name: row for row in load({"RINGBACK_PORT": "8080"}).describe()}

    assert rows["RINGBACK_PORT"].origin == "environment"
    assert rows["RINGBACK_HOST"].origin == "default"
    assert all(row.meaning for row in rows.values())


def test_secrets_are_masked_wherever_they_could_be_printed() -> None:
    secret = "k1:c2VjcmV0LXNlY3JldA=="  # noqa: S105 - an example
    settings = load({"RINGBACK_ADMIN_KEY": secret, "RINGBACK_ENCRYPTION_KEYS": secret})

    shown = f"{settings} {settings!r} {settings.describe()}"
    assert secret not in shown
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == secret
    assert settings.encryption_keys is not None
    assert settings.encryption_keys.get_secret_value() == secret


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"RINGBACK_HOST": "0.0.0.0", "RINGBACK_PORT": "80"}, "http://0.0.0.0:80"),  # noqa: S104 - only parsed
        ({"RINGBACK_HOST": "::1"}, "http://[::1]:8080"),
        ({"RINGBACK_PUBLIC_URL": "https://hooks.example.com/"}, "https://hooks.example.com"),
        ({"RINGBACK_PUBLIC_URL": "https://example.com/ringback"}, "https://example.com/ringback"),
    ],
)
def test_the_public_url_follows_host_and_port_unless_given(
    variables: dict[str, str], url: str
) -> None:
    assert load(variables).public_url == url


@pytest.mark.parametrize(
    ("url", "path", "folder"),
    [
        ("sqlite:///relative.db", "relative.db", "."),
        ("sqlite:///./data/ringback.db", "data/ringback.db", "data"),
        ("sqlite:////var/lib/ringback/r.db", "/var/lib/ringback/r.db", "/var/lib/ringback"),
    ],
)
def test_the_data_folder_is_that_of_the_sqlite_file(url: str, path: str, folder: str) -> None:
    settings = load({"RINGBACK_DATABASE_URL": url})

    assert settings.database_path == Path(path)
    assert settings.data_folder == Path(folder)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("127.0.0.0/8,::1/128", AllowedTargets((ip_network("127.0.0.0/8"), ip_network("::1/128")))),
        ("10.1.2.3, ::1", AllowedTargets((ip_network("10.1.2.3/32"), ip_network("::1/128")))),
        ("Localhost.:9000", AllowedTargets(hosts=(("localhost", 9000),))),
        ("10.0.0.5:8443,my_app:1", AllowedTargets(hosts=(("10.0.0.5", 8443), ("my_app", 1)))),
        ("[0:0::1]:65535", AllowedTargets(hosts=(("::1", 65535),))),
    ],
)
def test_allowed_targets_are_cidrs_and_host_port_pairs(text: str, targets: AllowedTargets) -> None:
    settings = load({"RINGBACK_ALLOW_TARGETS": text})

    assert settings.allow_targets == targets
    assert load({"RINGBACK_ALLOW_TARGETS": str(targets)}).allow_targets == targets


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("example.com", "localhost:9000"),
        ("example.com:0", "port from 1 to 65535"),
        ("example.com:65536", "port from 1 to 65535"),
        ("[nope]:80", "no IPv6 address"),
        ("[fe80::1%eth0]:80", "neither a CIDR nor host:port"),
        ("http://localhost:80", "localhost:9000"),
        ("10.0.0.0/33", "neither a CIDR nor host:port"),
        ("", "neither a CIDR nor host:port"),
        ("10.1", "neither a CIDR nor host:port"),
        ("10.1:80", "not an IPv4 address in full; write four decimal numbers"),
        ("2130706433:80", "write four decimal numbers"),
        ("0x7f000001:80", "write four decimal numbers"),
        ("127.0.0.01:80", "write four decimal numbers"),
    ],
)
def test_a_bad_target_is_named(entry: str, advice: str) -> None:
    (fault,) = faults(ALLOW_TARGETS=f"127.0.0.0/8,{entry}")

    assert repr(entry) in fault or repr(entry.partition(":")[0]) in fault
    assert advice in fault


def test_the_retry_schedule_takes_fractions() -> None:
    settings = load({"RINGBACK_RETRY_SCHEDULE": "0, 0.25,2678400"})

    assert settings.retry_schedule == (0.0, 0.25, 2_678_400.0)


@pytest.mark.parametrize("entry", ["-1", "2678400.5", "nan", "inf", "soon", ""])
def test_a_bad_delay_is_named(entry: str) -> None:
    (fault,) = faults(RETRY_SCHEDULE=f"0,{entry}")

    assert f"{entry!r} is not a delay" in fault


def test_a_schedule_has_at_most_50_attempts() -> None:
    assert len(load({"RINGBACK_RETRY_SCHEDULE": ",".join("1" * 50)}).retry_schedule) == 50
    assert faults(RETRY_SCHEDULE=",".join("1" * 51)) == (
        "RINGBACK_RETRY_SCHEDULE: has 51 entries; give at most 50.",
    )


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("on", True), ("FALSE", False), ("off", False)]
)
def test_switches_take_the_usual_words(text: str, *, value: bool) -> None:
    settings = load({"RINGBACK_ALLOW_HTTP": text, "RINGBACK_BREAKER": text})

    assert settings.allow_http is value
    assert settings.breaker is value


def test_a_rate_limit_lets_something_through() -> None:
    assert load({"RINGBACK_RATE_LIMIT": "0.5"}).rate_limit == 0.5
    (fault,) = faults(RATE_LIMIT="0.0009")
    assert "would let hardly anything through" in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REQUEST_TIMEOUT", "0.1"),
        ("REQUEST_TIMEOUT", "30"),
        ("OPERATION_TTL", "0.5"),
        ("RETENTION", "3155760000"),
        ("MAX_EVENT_BYTES", "16777216"),
        ("MAX_PENDING", "0"),
        ("RATE_LIMIT", "0.001"),
        ("RATE_LIMIT", "1000000"),
        ("PORT", "65535"),
    ],
)
def test_limits_are_inside_the_range(name: str, text: str) -> None:
    rows = {row.name: row.value for row in load({f"RINGBACK_{name}": text}).describe()}

    assert rows[f"RINGBACK_{name}"] == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REQUEST_TIMEOUT", "0.09"),
        ("REQUEST_TIMEOUT", "30.1"),
        ("REQUEST_TIMEOUT", "nan"),
        ("OPERATION_TTL", "0"),
        ("OPERATION_TTL", "inf"),
        ("RETENTION", "-1"),
        ("RETENTION", "1e12"),
        ("MAX_EVENT_BYTES", "0"),
        ("MAX_EVENT_BYTES", "16777217"),
        ("MAX_PENDING", "1.5"),
        ("MAX_PENDING", "-1"),
        ("RATE_LIMIT", "-0.1"),
        ("RATE_LIMIT", "1000001"),
        ("RATE_LIMIT", "nan"),
        ("PORT", "0"),
        ("PORT", "http"),
        ("ALLOW_HTTP", "perhaps"),
        ("HOST", "two words"),
        ("PUBLIC_URL", "hooks.example.com"),
        ("PUBLIC_URL", "https://user:pw@example.com"),
        ("PUBLIC_URL", "https://example.com?x=1"),
        ("PUBLIC_URL", "https://example.com:http"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "*"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_with_what_to_give(name: str, text: str) -> None:
    (fault,) = faults(**{name: text})

    assert fault.startswith(f"RINGBACK_{name}: {text!r} is not ")
    assert "; give " in fault


def test_origins_are_read_as_browsers_send_them() -> None:
    settings = load({"RINGBACK_CORS_ORIGINS": "https://App.example.com, http://localhost:3000"})

    assert settings.cors_origins == ("https://app.example.com", "http://localhost:3000")


@pytest.mark.parametrize(
    ("name", "url", "reason"),
    [
        ("DATABASE_URL", "postgresql://u:hunter2@db", "postgresql://user:password@host:5432/"),
        ("DATABASE_URL", "postgresql://u:hunter2@db:x/ringback", "not the URL of a PostgreSQL"),
        ("DATABASE_URL", "postgres://u:hunter2@db/ringback", "not the URL of a PostgreSQL"),
        ("DATABASE_URL", "mysql://u:hunter2@db/ringback", "not the URL of an SQLite file"),
        ("REDIS_URL", "http://:hunter2@cache:6379", "is not the URL of a Redis"),
        ("REDIS_URL", "redis://:hunter2@", "is not the URL of a Redis"),
        ("REDIS_URL", "redis://:hunter2@cache:0/0", "is not the URL of a Redis"),
        ("REDIS_URL", "redis://:hunter2@cache:6379/first", "is not the URL of a Redis"),
        ("REDIS_URL", "redis://:hunter2@[cache/0", "is not the URL of a Redis"),
        ("REDIS_URL", "redis://:hunter2@cache/0#2", "is not the URL of a Redis"),
        ("REDIS_URL", "redis://:hunter2@cache/0?db=3", "'db' that would not be heeded"),
        ("REDIS_URL", "redis://cache/0?password=hunter2", "'password' that would not be heeded"),
        ("REDIS_URL", "redis://cache/0?socket_timeout=60", "'socket_timeout' that would not be"),
        ("REDIS_URL", "rediss://cache/0?ssl_cert_req=none", "did you mean ssl_cert_reqs?"),
        ("REDIS_URL", "redis://cache/0?ssl_cert_reqs=none", "'ssl_cert_reqs' that would not be"),
        ("REDIS_URL", "rediss://cache/0?ssl_ca_certs=", "gives no value for ssl_ca_certs"),
        ("REDIS_URL", "unix:///", "is not the URL of a Redis"),
        ("REDIS_URL", "cache:6379", "is not the URL of a Redis"),
        ("ADMIN_KEY", "hunter2 hunter2", "has a blank"),
    ],
)
def test_what_is_not_supported_is_refused_without_repeating_passwords(
    name: str, url: str, reason: str
) -> None:
    (fault,) = faults(**{name: url})

    assert reason in fault
    assert "hunter2" not in fault


def test_a_server_needs_encryption_keys_that_all_processes_have() -> None:
    (fault,) = faults(DATABASE_URL="postgresql://u:hunter2@db/ringback")

    assert fault.startswith("RINGBACK_ENCRYPTION_KEYS: is required")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@db:5433/x", "postgresql://u:********@db:5433/x"),
        ("postgresql://u@db/x?password=hunter2", "postgresql://u@db/x?password=********"),
        ("postgresql://u@/x?host=/var/run", "postgresql://u@/x?host=/var/run"),
    ],
)
def test_a_servers_password_is_not_shown(url: str, shown: str) -> None:
    settings = load({"RINGBACK_DATABASE_URL": url, "RINGBACK_ENCRYPTION_KEYS": "k:x"})

    assert settings.database_url == url
    assert not settings.is_embedded
    assert settings.data_folder == Path("data")
    (row,) = (row for row in settings.describe() if row.name == "RINGBACK_DATABASE_URL")
    assert row.value == shown


@pytest.mark.parametrize(
    ("text", "flag"),
    [(word, "true") for word in ("true", "True", "1", "yes", "on", "T")]
    + [(word, "false") for word in ("false", "0", "No", "off")],
)
def test_a_pooler_is_said_to_be_there_in_the_usual_words(text: str, flag: str) -> None:
    url = "postgresql://u:p%40s@db/x?sslmode=require&pgbouncer="

    settings = load({"RINGBACK_DATABASE_URL": url + text, "RINGBACK_ENCRYPTION_KEYS": "k:x"})

    assert settings.database_url == url + flag


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("pgbouncer=enabled", "neither true nor false; write pgbouncer=true"),
        ("pgbouncer", "neither true nor false; write pgbouncer=true"),
        ("pgbouncer=1&pgbouncer=0", "gives pgbouncer 2 times"),
        ("PgBouncer=true", "'PgBouncer' that would not be heeded; did you mean pgbouncer?"),
        ("pg_bouncer=true", "did you mean pgbouncer?"),
        ("statement_timeout=60000", "'statement_timeout' that would not be heeded; known are "),
        ("application_name=us", "'application_name' that would not be heeded"),
        ("sslmode=", "gives no value for sslmode"),
        ("#sslmode=require", "not the URL of a PostgreSQL database"),
    ],
)
def test_nothing_of_a_servers_url_is_dropped_silently(query: str, said: str) -> None:
    url = f"postgresql://u:hunter2@db/x?{query}"
    with pytest.raises(SettingsError) as refused:
        load({"RINGBACK_DATABASE_URL": url, "RINGBACK_ENCRYPTION_KEYS": "k:x"})

    (fault,) = refused.value.faults
    assert said in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6379/0",
        "rediss://user:hunter2@cache.example.com:6380/15",
        "redis://:hunter2@[::1]:6379/1?socket_keepalive=true",
        "rediss://cache/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
        "unix:///run/valkey.sock?db=3",
    ],
)
def test_a_redis_has_many_addresses_and_its_password_is_not_shown(url: str) -> None:
    settings = load({"RINGBACK_REDIS_URL": url})

    assert settings.redis_url == url
    shown = next(row.value for row in settings.describe() if row.name == "RINGBACK_REDIS_URL")
    assert shown == re.sub("//.*@", "//********@", url)
    assert "hunter2" not in f"{shown}{settings!r}"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x",
        "sqlite:///a/",
        "sqlite:///a?b=1",
    ],
)
def test_a_database_is_a_file(url: str) -> None:
    (fault,) = faults(DATABASE_URL=url)

    assert "sqlite:///relative.db or sqlite:////absolute.db" in fault


def test_an_unknown_name_is_refused_with_the_closest_known_one() -> None:
    assert faults(PROT="8080") == ("RINGBACK_PROT is not a setting; did you mean RINGBACK_PORT?",)
    assert faults(DATABASE="x") == (
        "RINGBACK_DATABASE is not a setting; did you mean RINGBACK_DATABASE_URL?",
    )


def test_what_kubernetes_gives_for_a_service_of_our_name_is_one_fault() -> None:
    given = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80"}
    given |= {"PORT": "tcp://10.0.0.1:80", "PORT_80_TCP": "tcp://10.0.0.1:80"}
    given |= {"PORT_80_TCP_PROTO": "tcp", "PORT_80_TCP_PORT": "80", "PORT_80_TCP_ADDR": "10.0.0.1"}

    (fault,) = faults(**given)

    assert fault.endswith(
        "are what Kubernetes gives to pods beside a Service of that name; "
        "put `enableServiceLinks: false` into the pod's specification."
    )
    assert all(f"RINGBACK_{name}" in fault for name in given)
    # a Service of another role is no other matter, and what is wrong besides is told too
    assert len(faults(API_SERVICE_HOST="10.0.0.1", API_PORT="tcp://10.0.0.1:80")) == 1
    assert len(faults(SERVICE_HOST="10.0.0.1", PORT="x")) == 2


def test_all_faults_are_told_at_once() -> None:
    told = faults(PROT="1", PORT="x", HOST="a b", RETRY_SCHEDULE="-1,x")

    assert [fault.split(" ")[0].rstrip(":") for fault in told] == [
        "RINGBACK_PROT",
        "RINGBACK_HOST",
        "RINGBACK_PORT",
        "RINGBACK_RETRY_SCHEDULE",
    ]
    assert "'-1'" in told[3]
    assert "'x'" in told[3]
    with pytest.raises(
        SettingsError, match=r"(?s)cannot be used:\n  RINGBACK_PROT.*\n  RINGBACK_PORT"
    ):
        load({"RINGBACK_PROT": "1", "RINGBACK_PORT": "x"})


def test_fields_and_variables_are_one_list() -> None:
    assert {f"RINGBACK_{field.upper()}" for field in Settings.model_fields} == set(DEFAULTS)
