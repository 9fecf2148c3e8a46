"""Training data out of a database: read once, kept as Parquet, and versioned by their rows."""

import os
import sqlite3
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from support.postgresql import Postgresql, is_installed
from support.small_tables import run_steps, shops, write_recipe

from creche.data.database_url import fill_in
from creche.data.sql_snapshot import take_snapshot
from creche.errors import DataError, RecipeError, UnreachableError
from creche.pipeline import run_step
from creche.pipeline.retention import stale_files
from creche.project import ACCEPTED, SOURCE, ProjectPaths, read_json
from creche.recipe import load

SQL = "SELECT grade, city, size_m2 FROM shops"


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    return ProjectPaths(tmp_path, tmp_path / "var")


def write_sqlite(path: Path, count: int = 120, *, reverse: bool = False) -> None:
    path.unlink(missing_ok=True)
    rows = [tuple(row.values()) for row in shops(count).to_pylist()]
    if reverse:
        rows.reverse()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE shops (grade, city, size_m2)")
        connection.executemany("INSERT INTO shops VALUES (?, ?, ?)", rows)
    connection.close()


def test_steps_read_the_rows_of_a_query(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "shops.db")
    recipe = write_recipe(tmp_path, {"sql": SQL, "url": "sqlite:///shops.db"})
    run = run_steps(tmp_path, recipe, "preprocess")
    source = read_json(run / SOURCE)
    assert source["path"] == f"var/snapshots/{source['version']}.parquet"
    assert pq.read_table(run / ACCEPTED)["size_m2"].to_pylist() == shops()["size_m2"].to_pylist()


def test_rows_in_another_order_are_the_same_version(tmp_path: Path, paths: ProjectPaths) -> None:
    write_sqlite(tmp_path / "shops.db")
    first = take_snapshot(SQL, "sqlite:///shops.db", paths)
    content = first.path.read_bytes()
    write_sqlite(tmp_path / "shops.db", reverse=True)
    assert take_snapshot(SQL, "sqlite:///shops.db", paths) == first
    assert first.path.read_bytes() == content
    # A damaged snapshot is taken again.
    first.path.write_bytes(content[:-100])
    assert take_snapshot(SQL, "sqlite:///shops.db", paths) == first
    assert pq.read_metadata(first.path).num_rows == 120
    write_sqlite(tmp_path / "shops.db", count=119)
    assert take_snapshot(SQL, "sqlite:///shops.db", paths).version != first.version
    assert [path.suffix for path in first.path.parent.iterdir()] == [".parquet"] * 2


def test_column_of_several_types_is_text(tmp_path: Path, paths: ProjectPaths) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE t (a, b, c)")
        rows = [(number, number, None) for number in range(40_000)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [*rows, ("x", 1.5, 2)])
    connection.close()
    table = pq.read_table(take_snapshot("SELECT * FROM t", "sqlite:///x.db", paths).path)
    assert table["a"].to_pylist()[-2:] == ["39999", "x"]
    assert table["b"].to_pylist()[-2:] == [39999, 1.5]
    assert table["c"].to_pylist()[-2:] == [None, 2]


def test_duckdb_gives_its_own_types(tmp_path: Path, paths: ProjectPaths) -> None:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT range AS a, DATE '2020-01-02' AS d FROM range(70000)"
        )
    url = "duckdb:///x.duckdb"
    table = pq.read_table(take_snapshot("FROM t", url, paths).path)
    assert (table.num_rows, str(table.schema.field("d").type)) == (70_000, "date32[day]")
    with pytest.raises(DataError, match=r"two columns of the name 'a'"):
        take_snapshot("SELECT 1 AS a, 2 AS a", url, paths)
    with pytest.raises(DataError, match=r"data.sql: the query fails: .*nowhere"):
        take_snapshot("SELECT * FROM nowhere", url, paths)


@pytest.mark.parametrize(
    ("sql", "url", "message"),
    [
        ("SELECT * FROM nowhere", "sqlite:///shops.db", "data.sql: the query fails: no such table: nowhere"),
        ("SELEC", "sqlite:///shops.db", 'data.sql: the query fails: near "SELEC": syntax error'),
        ("SELECT * FROM shops WHERE 1 = 0", "sqlite:///shops.db", "data.sql: the query gives no rows"),
        ("SELECT city, grade AS city FROM shops", "sqlite:///shops.db", "two columns of the name 'city': rename one of them with AS"),
        ("DELETE FROM shops", "sqlite:///shops.db", "data.sql: the query fails: attempt to write a readonly database"),
        ("SELECT 1", "sqlite:///gone.db", "data.url: sqlite:///gone.db names no file of a database"),
        ("SELECT 1", "sqlite://", "data.url: sqlite:// names no file of a database"),
        ("SELECT 1", "duckdb:///gone.duckdb", "names no file of a database"),
        ("SELECT 1", "nonsense", "data.url: nonsense is no address of a database"),
        ("SELECT 1", "mysql://$USER_OF_TEST@localhost/x", "mysql://$USER_OF_TEST@localhost/x needs the package MySQLdb"),
        ("SELECT 1", "postgresql://$NOT_SET@localhost/x", "the environment variable NOT_SET, which data.url names, is not set"),
    ],
)  # fmt: skip
def test_query_that_gives_no_table_is_refused_in_one_sentence(
    tmp_path: Path,
    paths: ProjectPaths,
    monkeypatch: pytest.MonkeyPatch,
    sql: str,
    url: str,
    message: str,
) -> None:
    monkeypatch.setenv("USER_OF_TEST", "someone")
    write_sqlite(tmp_path / "shops.db")
    with pytest.raises(DataError) as error:
        take_snapshot(sql, url, paths)
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0


def test_credentials_are_in_no_message(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3/cr@t")
    url = fill_in("postgresql://me:$DB_PASSWORD@127.0.0.1:1/x")
    assert url.filled_in == "postgresql://me:s3%2Fcr%40t@127.0.0.1:1/x"
    assert url.redacted("no s3/cr@t and\nno s3%2Fcr%40t") == "no *** and no ***"
    with pytest.raises(UnreachableError) as error:
        take_snapshot("SELECT 1", "postgresql://me:${DB_PASSWORD}@127.0.0.1:1/x", paths)
    assert "postgresql://me:${DB_PASSWORD}@127.0.0.1:1/x cannot be read" in str(error.value)
    assert "s3" not in str(error.value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3cret@127.0.0.1:1/x")
    with pytest.raises(UnreachableError) as error:
        take_snapshot("SELECT 's3cret'", "$DATABASE_URL", paths)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sql": SQL}, "data: sql is stated without the url of its database"),
        ({"sql": SQL, "url": "sqlite:///x.db", "path": "x.csv"}, "data: sql and path are both stated"),
        ({"sql": " ", "url": "sqlite:///x.db"}, "data: sql is empty"),
        ({"sql": SQL, "url": "postgresql://me:secret@host/x"}, "data: url has a password in it"),
    ],
)  # fmt: skip
def test_section_that_makes_no_sense_is_refused(
    tmp_path: Path, data: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError) as error:
        write_recipe(tmp_path, data)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


def test_snapshot_that_no_run_has_read_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "var")
    write_sqlite(tmp_path / "shops.db")
    recipe = write_recipe(tmp_path, {"sql": SQL, "url": "sqlite:///shops.db"})
    monkeypatch.setattr("creche.registry.store_exists", lambda _: True)
    monkeypatch.setattr("creche.pipeline.retention._needed_runs", lambda _: {"kept"})
    read = paths.run("kept")
    run_step("pull", recipe, read)
    write_sqlite(tmp_path / "shops.db", count=7)
    unread = take_snapshot(SQL, "sqlite:///shops.db", paths).path
    for path in unread.parent.iterdir():
        os.utime(path, (0, 0))
    assert list(stale_files(0, paths)) == [unread]


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="PostgreSQL is not installed")
def test_postgresql_is_read_in_its_types(
    tmp_path: Path, paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Postgresql()
    server.start()
    try:
        engine = sqlalchemy.create_engine(server.url("psycopg2"))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE shops AS SELECT 'good' AS grade, 'Bonn' AS city, i AS size_m2, "
                "now() AS at, 1.5::numeric AS price, gen_random_uuid() AS key, "
                "DATE '2020-01-02' AS day, NULL::int AS hole FROM generate_series(1, 50000) AS i"
            )
        engine.dispose()
        monkeypatch.setenv("PORT_OF_TEST", str(server.port))
        url = "postgresql://creche@127.0.0.1:${PORT_OF_TEST}/postgres"
        sql = "SELECT *, 'a%b:c' AS text FROM shops WHERE size_m2 > 0;"
        snapshot = take_snapshot(sql, url, paths)
        table = pq.read_table(snapshot.path)
        assert table.num_rows == 50_000
        assert str(table.schema.field("at").type).startswith("timestamp[us, tz=")
        assert str(table.schema.field("day").type) == "date32[day]"
        assert table["text"][0].as_py() == "a%b:c"
        # The same rows in another order.
        again = take_snapshot(f"{sql.removesuffix(';')} ORDER BY size_m2 DESC", url, paths)
        assert again == snapshot
        for statement in ("DELETE FROM shops", "SELECT nothing FROM shops"):
            with pytest.raises(DataError, match=r"data.sql: the query fails"):
                take_snapshot(statement, url, paths)
        with pytest.raises(DataError, match=r"does not exist"):
            take_snapshot(sql, url.replace("/postgres", "/nowhere"), paths)
        recipe = write_recipe(tmp_path, {"sql": sql, "url": url})
        assert load("shops", tmp_path).digest == recipe.digest
    finally:
        server.remove()
