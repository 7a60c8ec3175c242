"""Many rows at once, by the driver alone: SQLAlchemy's look at each value takes longer than the database does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeVar

    from sqlalchemy import Connection, Table

    Key = TypeVar("Key", int, str)

_AT_ONCE = 500  # numbers in one IN (...): SQLite takes 999 in its oldest versions
_FEW = 100  # rows that PostgreSQL gets one by one; for more, a stream of them takes a fifth of the time


def insert(connection: Connection, table: Table, columns: Sequence[str], values: Sequence[tuple[object, ...]]) -> None:
    """Write rows, given the values of `columns`."""
    if not values:
        return
    names = ", ".join(f'"{table.c[column].name}"' for column in columns)
    if connection.dialect.name == "postgresql" and len(values) > _FEW:
        _stream(connection, f'COPY "{table.name}" ({names}) FROM STDIN', values)
        return
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join([mark] * len(columns))})'  # noqa: S608 - our own names
    connection.exec_driver_sql(statement, list(values))


def pieces(wanted: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Return numbers or IDs, as many at a time as one statement takes."""
    for start in range(0, len(wanted), _AT_ONCE):
        yield wanted[start : start + _AT_ONCE]


def _stream(connection: Connection, statement: str, values: Sequence[tuple[object, ...]]) -> None:
    driver, errors = connection.connection.driver_connection, connection.dialect.loaded_dbapi.Error
    assert driver is not None  # noqa: S101 - the connection is in use
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in values:
                copy.write_row(row)
    except errors as error:  # as SQLAlchemy would tell of it
        raise exc.DBAPIError.instance(statement, None, error, errors, dialect=connection.dialect) from error
