"""What Alembic runs for every upgrade: on the connection, and in the transaction, of whoever asks for it."""

from alembic import context

from vhpack.registry.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite's is, too, where the transaction is begun before its first statement, as `opening` does
)
context.run_migrations()
