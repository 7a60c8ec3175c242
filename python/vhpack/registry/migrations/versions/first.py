"""The first tables: projects, runs and their inputs, datums, aliases and their changes, datasets."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make them."""
    _make_runs_and_datums()
    _make_aliases()
    _make_datasets()


def _make_runs_and_datums() -> None:
    op.create_table(
        "projects",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )
    op.create_table(
        "runs",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("project", _NUMBER, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("copied_from", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("project", "hash", name="uq_runs_project_hash"),
        _refers("runs", "project", "projects"),
    )
    op.create_table(
        "datums",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project", _NUMBER, nullable=False),
        sa.Column("run", _NUMBER),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("xxh3_128", sa.String(32)),
        sa.Column("location", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger),
        sa.Column("purged", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_datums"),
        sa.UniqueConstraint("uuid", name="uq_datums_uuid"),
        _refers("datums", "project", "projects"),
        _refers("datums", "run", "runs"),
    )
    op.create_index("ix_datums_run", "datums", ["run"])
    op.create_table(
        "properties",
        sa.Column("datum", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("datum", "name", name="pk_properties"),
        _refers("properties", "datum", "datums", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tags",
        sa.Column("datum", _NUMBER, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("datum", "tag", name="pk_tags"),
        _refers("tags", "datum", "datums", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_inputs",
        sa.Column("run", _NUMBER, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("requested", sa.Text, nullable=False),
        sa.Column("datum", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", "input", "position", name="pk_run_inputs"),
        _refers("run_inputs", "run", "runs"),
        _refers("run_inputs", "datum", "datums"),
    )
    op.create_index("ix_run_inputs_datum", "run_inputs", ["datum"])


def _make_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("project", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("datum", _NUMBER),
        sa.Column("changes", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
        sa.UniqueConstraint("project", "name", name="uq_aliases_project_name"),
        _refers("aliases", "project", "projects"),
        _refers("aliases", "datum", "datums"),
    )
    op.create_index("ix_aliases_datum", "aliases", ["datum"])
    op.create_table(
        "alias_changes",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("alias", _NUMBER, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("old", _NUMBER),
        sa.Column("new", _NUMBER),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("run", _NUMBER),
        sa.Column("restores", sa.BigInteger),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alias_changes"),
        sa.UniqueConstraint("alias", "number", name="uq_alias_changes_alias_number"),
        _refers("alias_changes", "alias", "aliases"),
        _refers("alias_changes", "old", "datums"),
        _refers("alias_changes", "new", "datums"),
        _refers("alias_changes", "run", "runs"),
    )
    op.create_index("ix_alias_changes_new", "alias_changes", ["new"])
    op.create_index("ix_alias_changes_run", "alias_changes", ["run"])


def _make_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("project", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
        sa.UniqueConstraint("project", "name", name="uq_datasets_project_name"),
        _refers("datasets", "project", "projects"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("dataset", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("run", _NUMBER),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dataset_versions"),
        sa.UniqueConstraint("uuid", name="uq_dataset_versions_uuid"),
        sa.UniqueConstraint("dataset", "name", name="uq_dataset_versions_dataset_name"),
        _refers("dataset_versions", "dataset", "datasets"),
        _refers("dataset_versions", "run", "runs"),
    )
    op.create_table(
        "dataset_members",
        sa.Column("version", _NUMBER, nullable=False),
        sa.Column("datum", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("version", "datum", name="pk_dataset_members"),
        _refers("dataset_members", "version", "dataset_versions"),
        _refers("dataset_members", "datum", "datums"),
    )
    op.create_index("ix_dataset_members_datum", "dataset_members", ["datum"])
    op.create_table(
        "dataset_aliases",
        sa.Column("dataset", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", _NUMBER, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("dataset", "name", name="pk_dataset_aliases"),
        _refers("dataset_aliases", "dataset", "datasets"),
        _refers("dataset_aliases", "version", "dataset_versions"),
    )
    op.create_table(
        "dataset_tags",
        sa.Column("version", _NUMBER, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("version", "tag", name="pk_dataset_tags"),
        _refers("dataset_tags", "version", "dataset_versions"),
    )


def _refers(table: str, column: str, to: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}", ondelete=ondelete)
