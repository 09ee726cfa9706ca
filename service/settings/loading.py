"""From an environment to `Settings`, or to one error that names every fault."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from service.settings.model import PREFIX, Settings, form, variable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


#: The command line reads these, to find a service; one may run in the same shell.
CLIENT_NAMES: Final = frozenset({"RINGBACK_API_KEY", "RINGBACK_URL"})
#: Kubernetes tells pods of the Services beside them: of one named ringback by such names,
_OF_SERVICES: Final = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_[A-Z]+(_[A-Z]+)?)$")
#: and by RINGBACK_PORT with such a value.
_OF_A_SERVICE: Final = re.compile(r"(tcp|udp|sctp)://")


class SettingsError(ValueError):
    """The environment cannot be used. The text says what is wrong and how to mend it.

    Attributes:
        faults: one sentence per fault, each naming its variable; values of secrets never appear.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        listed = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(f"The settings cannot be used:{listed}")


def load(environ: Mapping[str, str]) -> Settings:
    """Parse the `RINGBACK_*` variables of an environment; an empty one counts as not set.

    Raises:
        SettingsError: with every unknown name and every value that cannot be used.
    """
    names = {variable(field): field for field in Settings.model_fields}
    theirs = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    given = {name: text for name, text in theirs.items() if name not in CLIENT_NAMES}
    links = {name for name, text in given.items() if _is_link(name, text)}
    unknown = sorted(given.keys() - names - links)
    faults = [_linked(links)] if links else []
    faults += [_unknown(name, tuple(names)) for name in unknown]
    read = {field: given.get(name, "") for name, field in names.items() if name not in links}
    values = {field: text for field, text in read.items() if text.strip()}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as invalid:
        faults += [_fault(error) for error in invalid.errors() if error["loc"][0] in values]
        raise SettingsError(tuple(faults)) from None
    faults += _contradictions(settings)
    if faults:
        raise SettingsError(tuple(faults))
    return settings


def _contradictions(settings: Settings) -> list[str]:
    """What cannot be together."""
    faults = []
    if not settings.is_embedded and settings.encryption_keys is None:
        faults.append(
            "RINGBACK_ENCRYPTION_KEYS: is required with a PostgreSQL database, since every process "
            "has to open what the others sealed; give name:key, with the key made by "
            "`openssl rand -base64 32`."
        )
    return faults


def _is_link(name: str, text: str) -> bool:
    if _OF_SERVICES.search(name):
        return True
    return name.endswith("_PORT") and _OF_A_SERVICE.match(text) is not None


def _linked(names: set[str]) -> str:
    return (
        f"{', '.join(sorted(names))} are what Kubernetes gives to pods beside a Service of that "
        "name; put `enableServiceLinks: false` into the pod's specification."
    )


def _unknown(name: str, known: tuple[str, ...]) -> str:
    closest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"{name} is not a setting; did you mean {closest}?"


def _fault(error: "ErrorDetails") -> str:
    field = str(error["loc"][0])
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, ValueError):
        return f"{variable(field)}: {raised}."
    return f"{variable(field)}: {error['input']!r} is not usable; give {form(field).expected}."
