# What lua/db.lua does; the same variables are set before.
import time

if AUTOCOMMIT:
    import sqlite3

    conn = sqlite3.connect(URL.removeprefix("sqlite:"), isolation_level=None)
else:
    import psycopg2

    conn = psycopg2.connect(URL)
    conn.autocommit = True
    VALUES = "%s, %s, %s"
cursor = conn.cursor()


def begin(name):
    cursor.execute(f"DROP TABLE IF EXISTS {name}")
    cursor.execute(f"CREATE TABLE {name} (id {ID} PRIMARY KEY, name TEXT NOT NULL, score DOUBLE PRECISION NOT NULL)")
    return f"INSERT INTO {name} (id, name, score) VALUES ({VALUES})"


def measure(name, work):
    began = time.perf_counter()
    result = work()
    print(f"{name} {time.perf_counter() - began:.9f}")
    return result


if AUTOCOMMIT:
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")


def insert_all(insert):
    for i in range(1, 10001):
        cursor.execute(insert, (i, f"name {i}", i / 7))


def transaction(insert):
    cursor.execute("BEGIN")
    insert_all(insert)
    cursor.execute("COMMIT")


insert = begin("inserted")
measure("transaction", lambda: transaction(insert))
if AUTOCOMMIT:
    insert_one = begin("committed")
    measure("autocommit", lambda: insert_all(insert_one))
begin("filled")
cursor.execute(
    """INSERT INTO filled WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    SELECT i, 'name ' || i, i / 7.0 FROM n"""
)


def select():
    cursor.execute("SELECT id, name, score FROM filled ORDER BY id")
    return cursor.fetchall()


rows = measure("select", select)
print(f"result {len(rows)}/{sum(row[0] + len(row[1]) for row in rows)}")
