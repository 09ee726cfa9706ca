"""SQLAlchemy and alembic live here and nowhere else; one method is one intention is one transaction."""
