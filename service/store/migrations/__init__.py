"""The history of the schema, as alembic runs it."""
