"""Run a query, and yield its rows in blocks: DuckDB gives Arrow, all others SQLAlchemy reads.

SQLAlchemy is taken and not ADBC or ConnectorX: it reaches every database that has a driver, and the
pipeline installs it anyway.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from creche.data.database_url import DatabaseUrl
from creche.errors import CrecheError, DataError, UnreachableError

BLOCK_ROWS = 32_768
DUCKDB = "duckdb:"
NO_ROWS = "data.sql: the statement gives no rows: state a query that selects some"
# What a database says where another attempt would fail in the same way.
FINAL_REASONS = (
    "password",
    "authentication",
    "does not exist",
    "denied",
    "role",
    "unknown database",
)


def blocks_of_query(sql: str, url: DatabaseUrl, root: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query in blocks; the types of a column may differ from block to block.

    It is read as it was when it began, and the database is not written.

    Args:
        root: folder that the path of a file database is relative to.

    Raises:
        DataError: the query fails, gives no columns or two of one name, or the driver is absent.
        UnreachableError: the database does not respond.
    """
    statement = sql.strip().removesuffix(";")
    blocks = _of_duckdb if url.filled_in.startswith(DUCKDB) else _of_sqlalchemy
    yield from blocks(statement, url, root)


def _check_names(names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(
                f"data.sql: the query gives two columns of the name '{name}': rename one of them "
                "with AS"
            )


def _database_file(path: str, url: DatabaseUrl, root: Path) -> Path:
    """Return the file of a database.

    Raises:
        DataError: there is none.
    """
    file = root / path
    if not path or path == ":memory:" or not file.is_file():
        raise DataError(
            f"data.url: {url.stated} names no file of a database: correct it; the path begins "
            "after three slashes, and is relative to the project"
        )
    return file


def _of_duckdb(sql: str, url: DatabaseUrl, root: Path) -> Iterator[pa.RecordBatch]:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise DataError(_driver_is_absent("duckdb", url)) from None
    path = url.filled_in.removeprefix(DUCKDB).removeprefix("///")
    file = _database_file(path, url, root)
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            relation = connection.sql(sql)
            if relation is None:
                raise DataError(NO_ROWS)
            _check_names(relation.columns)
            blocks: pa.RecordBatchReader = relation.to_arrow_reader(BLOCK_ROWS)
            yield from blocks
    except duckdb.Error as error:
        raise DataError(f"data.sql: the query fails: {url.redacted(str(error))}") from None


def _of_sqlalchemy(sql: str, url: DatabaseUrl, root: Path) -> Iterator[pa.RecordBatch]:
    with _reported(url):
        import sqlalchemy

        engine = sqlalchemy.create_engine(_sqlalchemy_url(url, root))
        # No parameters: a colon or a percent sign in the query is what it is.
        options: dict[str, Any] = {"stream_results": True, "no_parameters": True}
        if engine.dialect.name == "postgresql":
            options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        try:
            with engine.connect().execution_options(**options) as connection:
                result = connection.exec_driver_sql(sql)
                if not result.returns_rows:
                    raise DataError(NO_ROWS)
                names = list(result.keys())
                _check_names(names)
                for rows in result.partitions(BLOCK_ROWS):
                    columns = [_column(values) for values in zip(*rows, strict=True)]
                    yield pa.RecordBatch.from_arrays(columns, names=names)
        finally:
            engine.dispose()


def _sqlalchemy_url(url: DatabaseUrl, root: Path) -> Any:
    import sqlalchemy

    # SQLAlchemy knows PostgreSQL by its long name only.
    text = url.filled_in
    if text.startswith("postgres://"):
        text = text.replace("postgres://", "postgresql://", 1)
    parsed = sqlalchemy.make_url(text)
    if parsed.get_backend_name() != "sqlite":
        return parsed
    file = _database_file(parsed.database or "", url, root)
    # Otherwise a file that is not there would be created.
    return parsed.set(database=f"file:{file}", query={"mode": "ro", "uri": "true"})


@contextmanager
def _reported(url: DatabaseUrl) -> Iterator[None]:
    """Raise what SQLAlchemy or a driver raises as an error of creche, without credentials."""
    try:
        from sqlalchemy import exc
    except ModuleNotFoundError:
        raise DataError(_driver_is_absent("sqlalchemy", url)) from None
    try:
        yield
    except (CrecheError, GeneratorExit):
        raise
    except exc.ArgumentError:
        raise DataError(
            f"data.url: {url.stated} is no address of a database: state one as "
            "postgresql://$USER:$PASSWORD@HOST/DATABASE, sqlite:///PATH or duckdb:///PATH"
        ) from None
    except (ModuleNotFoundError, exc.NoSuchModuleError) as error:
        name = getattr(error, "name", None) or url.stated.partition(":")[0]
        raise DataError(_driver_is_absent(str(name), url)) from None
    except exc.DBAPIError as error:
        raise _database_error(error, url) from None
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise DataError(f"data.sql: the query fails: {url.redacted(str(error))}") from None


def _database_error(error: Any, url: DatabaseUrl) -> CrecheError:
    reason = url.redacted(str(error.orig))
    is_connection = error.statement is None or error.connection_invalidated
    if not is_connection:
        return DataError(f"data.sql: the query fails: {reason}")
    message = f"{url.stated} cannot be read: {reason}"
    is_final = any(text in reason.lower() for text in FINAL_REASONS)
    return DataError(message) if is_final else UnreachableError(message)


def _driver_is_absent(package: str, url: DatabaseUrl) -> str:
    return f"{url.stated} needs the package {package}: run `pip install {package}`"


def _column(values: Sequence[Any]) -> pa.Array:
    """Return the cells of a column; as texts where they are of several types."""
    cells = [_plain(value) for value in values]
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _plain(value: Any) -> Any:
    """Return a value that Arrow takes."""
    if isinstance(value, Decimal) and not value.is_finite():
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    return value
