"""Every setting of the service: its name, form, default and meaning, parsed once at start.

`load` takes the environment as an argument and returns a frozen `Settings`, or raises one
`SettingsError` that names every fault at once. Nothing here reads the process's environment.
"""

from service.settings.loading import SettingsError, load
from service.settings.model import Row, Settings
from service.settings.roles import ROLES, check_roles
from service.settings.values import AllowedTargets

__all__ = [
    "ROLES",
    "AllowedTargets",
    "Row",
    "Settings",
    "SettingsError",
    "check_roles",
    "load",
]
