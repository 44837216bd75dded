"""Runs the migrations on the connection that `tapeline.execution.intents.migrate` hands over."""

from alembic import context

from tapeline.execution.intents.migrate import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=SCHEMA,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
