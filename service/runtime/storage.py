"""Opens the database that the settings name, with the keys that belong to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from service.domain.api_keys import ADMIN_KEY_ID, Scope, hash_key, public_part
from service.ports import Clock, NewText, StoreUnavailableError
from service.runtime import keys
from service.settings import Settings
from service.store.checkup import State
from service.store.database import Database
from service.store.managing import ManageStore
from service.store.sqlite import SqliteDatabase, filelock
from service.store.sqlite import checkup as file_checkup
from service.store.sqlite.migrating import migrate as migrate_file
from service.vault.keyring import KeyRing


class Storage(NamedTuple):
    """An open database and what goes with it."""

    database: Database
    vault: KeyRing
    #: The admin key, if this process knows it, and whether it was made just now.
    admin_key: str | None
    is_new: bool = False


@asynccontextmanager
async def open_storage(
    settings: Settings, clock: Clock, roles: frozenset[str]
) -> AsyncIterator[Storage]:
    """Open the database for these roles; a file is brought up to date first, a server's has to be.

    Raises:
        StoreUnavailableError: it cannot be opened as it is.
        SettingsError: the encryption keys are not those that belong to it.
    """
    database: Database
    if settings.is_embedded:
        path = settings.database_path
        with filelock.held(path):  # of two first starts at once, one makes the keys for both
            vault = keys.key_ring(settings, database_existed=path.exists())
            admin = keys.known_admin_key(settings)
            is_new = admin is None
            if admin is None:
                admin = keys.new_admin_key()
                keys.keep_admin_key(settings, admin)
        migrate_file(path)
        database = SqliteDatabase(path, clock)
    else:
        vault = keys.key_ring(settings, database_existed=True)
        admin, is_new = keys.known_admin_key(settings), False
        from service.store.postgres import PostgresDatabase, migrating  # noqa: PLC0415  its driver is heavy, and a file needs none

        await migrating.check(settings.database_url)
        await _check_safety(settings)
        database = PostgresDatabase(settings.database_url, clock, roles=roles)
    await database.open()
    try:
        yield Storage(database, vault, admin, is_new)
    finally:
        await database.close()


async def _check_safety(settings: Settings) -> None:
    """Make sure that the server keeps what it calls committed: a 202 promises no less."""
    from service.store.postgres import checkup, migrating  # noqa: PLC0415  as above

    careless = await checkup.careless(settings.database_url)
    if careless and not settings.trust_database:
        raise StoreUnavailableError(
            f"{migrating.name_of(settings.database_url)} has {' and '.join(careless)} off: a crash "
            "of its machine takes events along that were answered 202. Turn it on; where commits "
            "are kept safe by other means, set RINGBACK_TRUST_DATABASE=true."
        )


@asynccontextmanager
async def placed(settings: Settings) -> AsyncIterator[None]:
    """Have a place among the processes that work with the database: one without Redis is alone.

    Raises:
        StoreUnavailableError: there is none, or the database cannot be reached.
    """
    if settings.is_embedded:
        yield  # the file's own lock sees to that
        return
    from service.store.postgres import sole  # noqa: PLC0415  as above

    if settings.redis_url:
        await sole.meet(settings.database_url)
        yield
        return
    async with sole.alone(settings.database_url):
        yield


async def state(settings: Settings, clock: Clock) -> State:
    """What state the database is in; nothing is opened for work, made or changed.

    Raises:
        StoreUnavailableError: it cannot be read or reached, or is another program's.
    """
    if settings.is_embedded:
        return file_checkup.look(settings.database_path)
    from service.store.postgres import checkup  # noqa: PLC0415  as above

    return await checkup.look(settings.database_url, clock)


async def sealed_samples(settings: Settings, clock: Clock) -> list[tuple[bytes, str]]:
    """A few sealed values with their contexts; none where this version cannot read the database."""
    try:
        found = await state(settings, clock)
    except StoreUnavailableError:
        return []
    if found.revision != found.wanted:
        return []
    if settings.is_embedded:
        return await file_checkup.sealed_samples(settings.database_path, clock)
    from service.store.postgres import checkup  # noqa: PLC0415  as above

    return await checkup.sealed_samples(settings.database_url, clock)


async def migrate(settings: Settings) -> str:
    """Bring the schema up to date; what was done, in a sentence."""
    if settings.is_embedded:
        revision = migrate_file(settings.database_path)
        return f"{settings.database_path} is at schema revision {revision}"
    from service.store.postgres import migrating  # noqa: PLC0415  as above

    revision = await migrating.migrate(settings.database_url)
    return f"{migrating.name_of(settings.database_url)} is at schema revision {revision}"


async def ensure_admin_key(storage: Storage, settings: Settings, manage: ManageStore) -> str | None:
    """Make sure that there is an admin key; the key, when it was made just now.

    One that this process knows is put in force. Otherwise the database has one, or is given one by
    the first of all processes that start.
    """
    text = storage.admin_key
    if text is not None:
        digest, public = hash_key(text), public_part(text)
        await manage.ensure_key(ADMIN_KEY_ID, "admin", digest, (Scope.ADMIN,), public)
        return text if storage.is_new else None
    text = keys.new_admin_key()
    new = NewText(hash_key(text), public_part(text))
    if not await manage.first_key(ADMIN_KEY_ID, "admin", new, (Scope.ADMIN,)):
        return None
    keys.keep_admin_key(settings, text)
    return text
