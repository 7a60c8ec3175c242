"""Models and their versions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "models",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("project", _NUMBER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("task_name", sa.Text, nullable=False),
        sa.Column("task_project", sa.Text, nullable=False),
        sa.Column("connected", sa.Text),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("framework", sa.Text),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("destination", sa.Text),
        sa.Column("current", sa.BigInteger),
        sa.Column("versions", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("published", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("uuid", name="uq_models_uuid"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_models_project"),
    )
    op.create_index("ix_models_project_name", "models", ["project", "name"])
    op.create_index("ix_models_project_task", "models", ["project", "task"])
    op.create_table(
        "model_versions",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("model", _NUMBER, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("iteration", sa.BigInteger),
        sa.Column("size", sa.BigInteger),
        sa.Column("files", sa.BigInteger),
        sa.Column("datum", _NUMBER),
        sa.Column("snapshot", sa.Text),
        sa.Column("sources", sa.Text),
        sa.Column("remark", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("stored", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.UniqueConstraint("model", "number", name="uq_model_versions_model_number"),
        sa.ForeignKeyConstraint(["model"], ["models.id"], name="fk_model_versions_model"),
        sa.ForeignKeyConstraint(["datum"], ["datums.id"], name="fk_model_versions_datum"),
    )
    op.create_index("ix_model_versions_datum", "model_versions", ["datum"])
    op.create_index("ix_model_versions_state", "model_versions", ["state"])
