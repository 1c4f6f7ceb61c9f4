"""Alembic's environment: migrations run on the connection that was handed in, in its transaction."""

from alembic import context

from local_stack.api_server.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
