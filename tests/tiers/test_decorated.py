"""`cached(…)` as people use it; first of all the example with which this project began: the rows of a query."""

import asyncio
import datetime
import decimal

from khronos_fast import AsyncDatabase, AsyncTieredCache, Database, Row, TieredCache

from .support import Loader


def fill(database):
    database.execute("CREATE TABLE project (id INTEGER PRIMARY KEY, user_id INTEGER, name TEXT, note TEXT, data BLOB)")
    rows = [(1, 7, "alpha", None, b"\x00\xff"), (2, 7, "béta", "", b""), (3, 8, "gamma", "x", None)]
    database.executemany("INSERT INTO project VALUES (?, ?, ?, ?, ?)", rows)


QUERY = "SELECT id, name, note, data FROM project WHERE user_id = ? ORDER BY id"


class TestTheRowsOfAQuery:
    def test_with_threads(self, one_place, tmp_path):
        with Database(f"sqlite:///{tmp_path}/test.db") as database:
            fill(database)
            asked = []
            with TieredCache(1000, one_place.redis) as cache, TieredCache(1000, one_place.redis) as other:

                def projects(user_id):
                    asked.append(user_id)
                    return database.query(QUERY, (user_id,))

                here = cache.cached("user:{user_id}:projects")(projects)
                there = other.cached("user:{user_id}:projects")(projects)
                fresh = database.query(QUERY, (7,))
                for function in (here, here, there, there):
                    rows = function(7)
                    assert rows == fresh
                    assert type(rows) is list
                    assert [type(row) for row in rows] == [Row, Row]
                    assert rows[0]["name"] == "alpha" == rows[0][1]
                    assert rows[1]["data"] == b""
                    assert [dict(row) for row in rows] == [dict(row) for row in fresh]
                assert here(user_id=7) == fresh
                assert asked == [7]
                assert here(9) == []
                assert here(9) == []
                assert there(9) == []
                assert asked == [7, 9]
                database.execute("UPDATE project SET name = 'delta' WHERE id = 1")
                assert cache.invalidate("user:7:*") == 1
                assert here(7)[0]["name"] == "delta"
                assert asked == [7, 9, 7]
                assert one_place.keys() == [b"khronos:user:7:projects", b"khronos:user:9:projects"]

    def test_in_an_event_loop(self, one_place, tmp_path):
        async def run():
            with Database(f"sqlite:///{tmp_path}/test.db") as plain:
                fill(plain)
            async with AsyncDatabase(f"sqlite:///{tmp_path}/test.db") as database:
                async with (
                    AsyncTieredCache(1000, one_place.redis) as cache,
                    AsyncTieredCache(1000, one_place.redis) as other,
                ):
                    asked = []

                    async def projects(user_id):
                        asked.append(user_id)
                        return await database.query(QUERY, (user_id,))

                    here = cache.cached("user:{user_id}:projects")(projects)
                    there = other.cached("user:{user_id}:projects")(projects)
                    fresh = await database.query(QUERY, (7,))
                    for function in (here, here, there, there):
                        rows = await function(7)
                        assert rows == fresh
                        assert [type(row) for row in rows] == [Row, Row]
                        assert rows[1]["name"] == "béta"
                    assert asked == [7]
                    assert len(await asyncio.gather(*(here(8) for _ in range(100)))) == 100
                    assert asked == [7, 8]

        asyncio.run(run())


class TestKeys:
    def test_of_a_template(self, make, face, tiers):
        cache = make()
        calls = []

        @cache.decorated("user:{user_id}:{kind}")
        def find(user_id, kind="all"):
            calls.append((user_id, kind))
            return [user_id, kind]

        assert find(1) == [1, "all"]
        assert find(1, "all") == find(user_id=1) == find(kind="all", user_id=1) == [1, "all"]
        assert find(1, "some") == [1, "some"]
        assert calls == [(1, "all"), (1, "some")]
        assert cache.get("user:1:all") == [1, "all"]
        assert cache.delete("user:1:all") is True
        find(1)
        assert len(calls) == 3

    def test_without_a_field(self, make, face, tiers):
        cache = make()
        loader = Loader([1])

        @cache.decorated("everything", ttl=50)
        def everything():
            return loader.plain()

        assert everything() == everything() == [1]
        assert loader.calls == 1
        assert cache.get("everything") == [1]

    def test_methods(self, make, face, tiers):
        cache = make()
        calls = []

        class Users:
            @cache.decorated("user:{user_id}")
            def find(self, user_id):
                calls.append(user_id)
                return user_id + 1

        if face.asynchronous:
            return  # the adapter of the tests makes plain functions of these
        users = Users()
        assert users.find(1) == users.find(user_id=1) == 2
        assert calls == [1]

    def test_what_comes_out_is_like_what_went_in(self, make, face, tiers):
        cache = make()

        def find(user_id: int) -> int:
            """Find it."""
            return user_id

        made = cache.real.cached("user:{user_id}")(face.loader(find) if not face.asynchronous else _coroutine)
        source = find if not face.asynchronous else _coroutine
        assert made.__name__ == source.__name__
        assert made.__doc__ == source.__doc__
        assert made.__wrapped__ is source
        assert asyncio.iscoroutinefunction(made) is face.asynchronous


async def _coroutine(user_id: int) -> int:
    """Find it."""
    return user_id


def test_all_types_of_a_row_come_back(make, face, one_place):
    value = {
        "a": [1, 2**70, -1.5, "x", b"\xff", None, True],
        "b": (1, (2, [3])),
        "c": {1, "x", (2,)},
        "d": datetime.date(2024, 2, 29),
        "e": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        "f": datetime.timedelta(days=-1, microseconds=1),
        "g": decimal.Decimal("1.10"),
    }
    cache = make()
    assert cache.get_or_compute("k", Loader(value)) == value
    found = make().get("k")
    assert found == value
    assert {key: type(item) for key, item in found.items()} == {key: type(item) for key, item in value.items()}
    assert str(found["g"]) == "1.10"
