"""The settings themselves: names, forms, defaults and meanings."""

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, PlainValidator, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.settings import values

PREFIX = "RINGBACK_"
DAY = 86_400.0
CENTURY = 36_525 * DAY  # above every sensible duration, below what a date can hold
MAX_BODY_BYTES = 16 * 1024 * 1024


class Row(NamedTuple):
    """One setting as shown to people; `origin` is `default` or `environment`."""

    name: str
    value: str
    origin: str
    meaning: str


SECRET = values.Form("text", show=lambda secret: values.MASK if secret else "")
_Seconds = Annotated[
    float,
    Field(gt=0, le=CENTURY),
    values.Form(f"seconds: a number above 0, at most {CENTURY:.0f}", show=values.number),
]
_Count = Annotated[int, Field(ge=0), values.Form("a whole number, 0 or more")]
_Switch = Annotated[bool, values.Form("true or false", show=lambda value: str(value).lower())]


class Settings(BaseSettings):
    """All settings, as plain values. The field `x_y` is the variable `RINGBACK_X_Y`.

    Durations are seconds, sizes bytes. Secrets show as asterisks when printed.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        str_strip_whitespace=True,
        validate_default=False,
    )

    host: Annotated[str, Field(pattern=r"^\S+$"), values.Form("an address or a host name")] = Field(
        "127.0.0.1", description="address on which the API listens"
    )
    port: Annotated[int, Field(ge=1, le=65_535), values.Form("a whole number from 1 to 65535")] = (
        Field(8080, description="port on which the API listens")
    )
    database_url: Annotated[
        str,
        AfterValidator(values.database_url),
        values.Form("the URL of a database", show=values.without_password),
    ] = Field(
        "sqlite:///./data/ringback.db",
        description="an SQLite file, `sqlite:///relative.db` or `sqlite:////absolute.db`; or "
        "`postgresql://user:password@host/database`, with `?pgbouncer=true` behind a pooler that "
        "lends connections for one transaction",
    )
    trust_database: _Switch = Field(
        default=False,
        description="start although the PostgreSQL server has `fsync` or `full_page_writes` off: "
        "for providers that keep commits safe by other means, and for tests",
    )
    redis_url: Annotated[
        str,
        AfterValidator(values.redis_url),
        values.Form("a redis:// URL", show=values.without_user),
    ] = Field(
        "",
        repr=False,  # it may hold a password
        description="`redis://HOST:PORT/DATABASE`, also `rediss://` and `unix://`; empty: broker "
        "and pub/sub inside the process",
    )
    admin_key: Annotated[SecretStr | None, AfterValidator(values.key), SECRET] = Field(
        None,
        description="bootstrap key with every scope; without it one is generated at first start, "
        "printed once and kept in the data folder",
    )
    encryption_keys: Annotated[SecretStr | None, SECRET] = Field(
        None,
        description="`kid2:base64,kid1:base64`: the first encrypts, all decrypt; without it one is "
        "generated at first start and kept in the data folder; with `postgresql://` required",
    )
    public_url: Annotated[str, AfterValidator(values.base_url)] = Field(
        default_factory=values.default_public_url,
        description="base of every absolute link; without it `http://HOST:PORT`",
    )
    cors_origins: Annotated[
        tuple[str, ...],
        PlainValidator(values.origins),
        values.Form("a comma list of origins", show=",".join),
    ] = Field((), description="comma list of origins whose pages may read operations and streams")
    allow_http: _Switch = Field(
        default=False, description="allow `http://` callback URLs (development, private networks)"
    )
    allow_targets: Annotated[values.AllowedTargets, PlainValidator(values.targets)] = Field(
        values.AllowedTargets(),
        description="comma list of CIDRs (all ports) or `host:port`, otherwise forbidden, that may "
        "be called; without it only public addresses, and ports 80, 443, 1024-65535",
    )
    retry_schedule: Annotated[
        tuple[float, ...],
        PlainValidator(values.schedule),
        values.Form("a comma list of seconds", show=values.numbers),
    ] = Field(
        (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0),
        description="seconds before each attempt, attempt 1 first; +-20 % jitter",
    )
    request_timeout: Annotated[
        float,
        Field(ge=0.1, le=30),
        values.Form("seconds: a number from 0.1 to 30", show=values.number),
    ] = Field(
        20.0,
        description="seconds for a whole attempt: resolve, connect, TLS, send, headers, body",
    )
    operation_ttl: _Seconds = Field(
        DAY, description="seconds a finished operation is readable; after that 410"
    )
    retention: _Seconds = Field(
        30 * DAY, description="seconds that delivered events and attempts are kept"
    )
    max_event_bytes: Annotated[
        int,
        Field(ge=1, le=MAX_BODY_BYTES),
        values.Form(f"a whole number from 1 to {MAX_BODY_BYTES}"),
    ] = Field(262_144, description="largest event in bytes; larger ones are answered 413")
    max_pending: _Count = Field(
        0, description="pending deliveries above which producers get 503; 0: no limit"
    )
    breaker: Annotated[
        bool, values.Form("on or off", show=lambda value: "on" if value else "off")
    ] = Field(default=True, description="`off` switches the circuit breakers of subscriptions off")
    rate_limit: Annotated[
        float,
        Field(ge=0, le=values.FASTEST),
        AfterValidator(values.rate_limit),
        values.Form(
            f"0, or a number from {values.SLOWEST} to {values.FASTEST}", show=values.number
        ),
    ] = Field(
        0.0,
        description="requests per second per API key, in each process; over it: 429; 0: no limit",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        *_positional: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller only, never from the process's environment or a file."""
        return (init_settings,)

    @property
    def is_embedded(self) -> bool:
        """Whether the database is a file of this process alone."""
        return self.database_url.startswith(values.SQLITE)

    @property
    def database_path(self) -> Path:
        """The SQLite file; a relative one counts from the working directory."""
        return Path(self.database_url.removeprefix(values.SQLITE))

    @property
    def data_folder(self) -> Path:
        """The folder of the SQLite file, or `data`; in it generated keys are kept."""
        return self.database_path.parent if self.is_embedded else Path("data")

    def describe(self) -> tuple[Row, ...]:
        """Every setting in the order of the documentation, secrets masked."""
        return tuple(
            Row(
                name=variable(name),
                value=form(name).show(getattr(self, name)),
                origin="environment" if name in self.model_fields_set else "default",
                meaning=field.description or "",
            )
            for name, field in Settings.model_fields.items()
        )


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def form(field: str) -> values.Form:
    """What is known of the text of a field."""
    notes = Settings.model_fields[field].metadata
    return next((note for note in notes if isinstance(note, values.Form)), values.Form("text"))
