"""What alembic runs to get at the database; the connection is in its transaction already."""

from alembic import context

from service.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes most things about a table by making it anew
    render_as_batch=True,
)
context.run_migrations()
