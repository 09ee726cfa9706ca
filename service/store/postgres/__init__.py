"""What is PostgreSQL's own: a server, and several processes that work with it at once."""

from service.store.postgres.database import PostgresDatabase

__all__ = ["PostgresDatabase"]
