"""The home of SQLAlchemy and alembic; one method is one intention is one transaction."""
