"""The tables. What they look like in a database is decided by `migrations`; a test holds the two together.

Times are whole microseconds since 1970 in UTC, which every database compares and none rounds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

HEAD = "0002"
"""The revision that this code reads and writes."""
VERSION_TABLE = "vhpack_version"

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # the only type that SQLite counts up by itself

PROJECTS = Table(
    "projects",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created", BigInteger, nullable=False),
)
RUNS = Table(
    "runs",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("hash", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("copied_from", Text),
    Column("created", BigInteger, nullable=False),
    Column("finished", BigInteger),
    UniqueConstraint("project", "hash"),
)
DATUMS = Table(
    "datums",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("run", ForeignKey("runs.id")),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("xxh3_128", String(32)),
    Column("location", Text),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger),
    Column("purged", BigInteger),
    Index(None, "run"),
)
PROPERTIES = Table(
    "properties",
    METADATA,
    Column("datum", ForeignKey("datums.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,  # the key alone: of 200,000 rows each would be written twice
)
TAGS = Table(
    "tags",
    METADATA,
    Column("datum", ForeignKey("datums.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", Text, primary_key=True),
    sqlite_with_rowid=False,
)
ALIASES = Table(
    "aliases",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("datum", ForeignKey("datums.id")),
    Column("changes", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("deleted", BigInteger),
    UniqueConstraint("project", "name"),
    Index(None, "datum"),
)
ALIAS_CHANGES = Table(
    "alias_changes",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("alias", ForeignKey("aliases.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("old", ForeignKey("datums.id")),
    Column("new", ForeignKey("datums.id")),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("via", String(16), nullable=False),
    Column("run", ForeignKey("runs.id")),
    Column("restores", BigInteger),
    Column("note", Text, nullable=False),
    UniqueConstraint("alias", "number"),
    Index(None, "new"),
    Index(None, "run"),
)
RUN_INPUTS = Table(
    "run_inputs",
    METADATA,
    Column("run", ForeignKey("runs.id"), primary_key=True),
    Column("input", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("requested", Text, nullable=False),
    Column("datum", ForeignKey("datums.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Index(None, "datum"),
)
DATASETS = Table(
    "datasets",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("project", "name"),
)
DATASET_VERSIONS = Table(
    "dataset_versions",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("dataset", ForeignKey("datasets.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("run", ForeignKey("runs.id")),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("dataset", "name"),
)
DATASET_MEMBERS = Table(
    "dataset_members",
    METADATA,
    Column("version", ForeignKey("dataset_versions.id"), primary_key=True),
    Column("datum", ForeignKey("datums.id"), primary_key=True),
    Index(None, "datum"),
)
DATASET_ALIASES = Table(
    "dataset_aliases",
    METADATA,
    Column("dataset", ForeignKey("datasets.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", ForeignKey("dataset_versions.id"), nullable=False),
    Column("modified", BigInteger, nullable=False),
)
DATASET_TAGS = Table(
    "dataset_tags",
    METADATA,
    Column("version", ForeignKey("dataset_versions.id"), primary_key=True),
    Column("tag", Text, primary_key=True),
)
MODELS = Table(
    "models",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("uuid", String(32), nullable=False, unique=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_name", Text, nullable=False),
    Column("task_project", Text, nullable=False),
    Column("connected", Text),
    Column("comment", Text, nullable=False),
    Column("framework", Text),
    Column("config", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("destination", Text),
    Column("current", BigInteger),
    Column("versions", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("published", BigInteger),
    Index(None, "project", "name"),
    Index(None, "project", "task"),
)
MODEL_VERSIONS = Table(
    "model_versions",
    METADATA,
    Column("id", NUMBER, primary_key=True),
    Column("model", ForeignKey("models.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("iteration", BigInteger),
    Column("size", BigInteger),
    Column("files", BigInteger),
    Column("datum", ForeignKey("datums.id")),
    Column("snapshot", Text),
    Column("sources", Text),
    Column("remark", Text),
    Column("error", Text),
    Column("created", BigInteger, nullable=False),
    Column("stored", BigInteger),
    UniqueConstraint("model", "number"),
    Index(None, "datum"),
    Index(None, "state"),
)
