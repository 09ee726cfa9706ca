"""The admin key and the encryption keys: given, or made once and kept in the data folder."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from service.domain.api_keys import KEY_BYTES, new_key
from service.ports import SealError
from service.settings import Settings, SettingsError
from service.vault.keyring import KeyRing, KeyRingError, generate, parse_key_ring

ADMIN_KEY_FILE: Final = "admin.key"
ENCRYPTION_KEYS_FILE: Final = "encryption.keys"


def known_admin_key(settings: Settings) -> str | None:
    """The admin key that was given, or that lies in the data folder."""
    if settings.admin_key is not None:
        return settings.admin_key.get_secret_value()
    file = settings.data_folder / ADMIN_KEY_FILE
    return file.read_text().strip() if file.exists() else None


def new_admin_key() -> str:
    """An admin key that nobody has yet."""
    return new_key(os.urandom(KEY_BYTES))


def keep_admin_key(settings: Settings, text: str) -> None:
    """Put a new admin key into the data folder."""
    _keep(settings.data_folder / ADMIN_KEY_FILE, text)


def key_ring(settings: Settings, *, database_existed: bool) -> KeyRing:
    """The key ring that seals secrets.

    Raises:
        SettingsError: it cannot be read, or is gone while the database it belongs to is there.
    """
    ring = present_key_ring(settings, database_existed=database_existed)
    if ring is not None:
        return ring
    file = settings.data_folder / ENCRYPTION_KEYS_FILE
    _keep(file, generate())
    return _parsed(file.read_text().strip(), str(file))


def present_key_ring(settings: Settings, *, database_existed: bool) -> KeyRing | None:
    """The key ring that is there; ``None`` when the first start is to make one.

    Raises:
        SettingsError: as by :func:`key_ring`.
    """
    if settings.encryption_keys is not None:
        return _parsed(settings.encryption_keys.get_secret_value(), "RINGBACK_ENCRYPTION_KEYS")
    file = settings.data_folder / ENCRYPTION_KEYS_FILE
    if file.exists():
        return _parsed(file.read_text().strip(), str(file))
    if database_existed:
        fault = (
            f"{settings.database_path} is there, but {file}, which opens the secrets in it, "
            "is not. Put that file back, or give its content as RINGBACK_ENCRYPTION_KEYS."
        )
        raise SettingsError((fault,))
    return None


def check(ring: KeyRing, samples: Iterable[tuple[bytes, str]]) -> None:
    """Make sure that the ring opens what the database holds.

    Raises:
        SettingsError: it does not; better now than in every delivery.
    """
    try:
        for sealed, context in samples:
            ring.open(sealed, context)
    except SealError as error:
        fault = (
            f"The encryption keys do not open the secrets in the database: {error} Add the key "
            "that sealed them, behind the others, to RINGBACK_ENCRYPTION_KEYS or to the file "
            f"{ENCRYPTION_KEYS_FILE}."
        )
        raise SettingsError((fault,)) from error


def resealer(ring: KeyRing) -> Callable[[bytes, str], bytes | None]:
    """Seals again what the ring's first key did not seal; ``None`` for what it did."""

    def reseal(sealed: bytes, context: str) -> bytes | None:
        return None if ring.is_current(sealed) else ring.reseal(sealed, context)

    return reseal


def _parsed(text: str, where: str) -> KeyRing:
    try:
        return parse_key_ring(text)
    except KeyRingError as error:
        raise SettingsError((f"{where}: {error}",)) from error


def _keep(file: Path, text: str) -> None:
    """Write a secret for its owner's eyes only, whole or not at all, and to the disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(f"{text}\n")
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
