"""Rows: a tuple of values that also answers to the columns' names."""

import copy
import gc
import operator
import pickle
import sys
import weakref

import pytest

from khronos_fast._core.row import Columns, rows_of
from khronos_fast.databases import Row

from .support import SQLITE, runs


def row(**values):
    return Row(Columns(tuple(values)), tuple(values.values()))


def described(*names):
    """A DB-API description: seven items a column, of which most drivers fill in the first."""
    return [(name, None, None, None, None, None, None) for name in names]


ADA = {"id": 1, "name": "Ada", "born": 1815}


def test_by_index():
    ada = row(**ADA)
    assert (ada[0], ada[1], ada[2]) == (1, "Ada", 1815)
    assert (ada[-1], ada[-3]) == (1815, 1)
    for index in (3, -4, 10**30, -(10**30)):
        with pytest.raises(IndexError):
            ada[index]


def test_by_what_is_an_index_or_a_name_of_another_type():
    class Name(str):
        pass

    class Index:
        def __index__(self):
            return 1

    ada = row(**ADA)
    assert ada[Name("name")] == "Ada"
    assert ada[True] == "Ada"
    assert ada[Index()] == "Ada"
    # A name that was put together, and is not the object that the columns have.
    assert ada["".join(["na", "me"])] == "Ada"


def test_by_name():
    ada = row(**ADA)
    assert (ada["id"], ada["name"], ada["born"]) == (1, "Ada", 1815)
    with pytest.raises(KeyError) as raised:
        ada["surname"]
    # Whoever mistypes a name is helped by the names that there are.
    assert "surname" in str(raised.value)


@pytest.mark.parametrize("wrong", [1.0, None, b"name", ("name",)])
def test_by_anything_else(wrong):
    with pytest.raises((TypeError, KeyError)):
        row(**ADA)[wrong]


def test_an_unhashable_key():
    with pytest.raises(TypeError):
        row(**ADA)[["name"]]


def test_slices_are_tuples():
    ada = row(**ADA)
    for cut in (slice(None), slice(1, None), slice(None, None, -1), slice(5, 9), slice(0, 3, 2)):
        assert type(ada[cut]) is tuple
        assert ada[cut] == (1, "Ada", 1815)[cut]


def test_as_a_sequence():
    ada = row(**ADA)
    assert len(ada) == 3
    assert list(ada) == [1, "Ada", 1815]
    assert list(reversed(ada)) == [1815, "Ada", 1]
    number, name, born = ada
    assert (number, name, born) == (1, "Ada", 1815)
    assert "Ada" in list(ada)


def test_as_a_mapping():
    ada = row(**ADA)
    assert tuple(ada.keys()) == ("id", "name", "born")
    assert ada.as_dict() == dict(ada) == ADA
    assert list(ada.as_dict()) == list(ADA)
    assert dict(zip(ada.keys(), ada, strict=True)) == ADA
    changed = ada.as_dict()
    changed["name"] = "Grace"
    assert ada["name"] == "Ada"


def test_columns_of_one_name():
    """A join has them: every value is there by its index, and the name means the first of them."""
    both = Row(Columns(("id", "id", "name")), (1, 2, "Ada"))
    assert (both[0], both[1], both[2]) == (1, 2, "Ada")
    assert len(both) == 3
    assert tuple(both) == (1, 2, "Ada")
    assert tuple(both.keys()) == ("id", "id", "name")
    assert both["id"] == 1
    assert both.as_dict() == {"id": 1, "name": "Ada"}
    assert pickle.loads(pickle.dumps(both)) == both
    assert repr(both) == "Row(id=1, id=2, name='Ada')"


def test_equal():
    assert row(**ADA) == row(**ADA)
    assert row(**ADA) == (1, "Ada", 1815)
    assert operator.eq((1, "Ada", 1815), row(**ADA))
    assert row(**ADA) != row(**ADA | {"name": "Grace"})
    assert row(**ADA) != (1, "Ada")
    assert row(**ADA) != (1, "Ada", 1815, None)
    # Other names say that other things are meant.
    assert row(a=1) != row(b=1)
    assert not operator.eq(row(a=1), row(b=1))
    for other in ([1, "Ada", 1815], ADA, "Row", None, 1):
        assert row(**ADA) != other
    assert row(a=float("nan")) != row(a=float("nan"))


def test_equal_to_whoever_says_so():
    class Anything:
        def __eq__(self, other):
            return True

    assert row(**ADA) == Anything()


def test_hash():
    assert hash(row(**ADA)) == hash(row(**ADA)) == hash((1, "Ada", 1815))
    assert len({row(**ADA), row(**ADA), (1, "Ada", 1815)}) == 1
    with pytest.raises(TypeError):
        hash(row(a=[]))


def test_values_that_raise_when_they_are_compared():
    class Broken(Exception):
        pass

    class Value:
        def __eq__(self, other):
            raise Broken

        __hash__ = None

    with pytest.raises(Broken):
        row(a=Value()) == row(a=Value())
    with pytest.raises(TypeError):
        hash(row(a=Value()))


def test_repr():
    assert repr(row(id=1, name="Ada")) == "Row(id=1, name='Ada')"
    assert repr(Row(Columns(()), ())) == "Row()"
    assert "count(*)" in repr(Row(Columns(("count(*)",)), (5,)))


def test_repr_of_a_row_in_itself():
    inner = []
    outer = row(a=inner)
    inner.append(outer)
    assert "..." in repr(outer)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    ada = pickle.loads(pickle.dumps(row(**ADA), protocol))
    assert type(ada) is Row
    assert ada == row(**ADA)
    assert ada["name"] == "Ada"
    assert ada.as_dict() == ADA
    # Rows of one query share their columns, and do so afterwards: names are written once.
    many = rows_of(described("a_rather_long_name"), [(number,) for number in range(100)])
    written = pickle.dumps(many, protocol)
    assert written.count(b"a_rather_long_name") == 1
    assert pickle.loads(written) == many


def test_copy():
    inner = [1]
    original = row(a=inner)
    shallow, deep = copy.copy(original), copy.deepcopy(original)
    assert shallow == deep == original
    assert shallow[0] is inner
    assert deep[0] is not inner
    assert deep["a"] == [1]


def test_a_row_can_not_be_changed():
    ada = row(**ADA)
    with pytest.raises(TypeError):
        ada[0] = 2
    with pytest.raises(TypeError):
        ada["name"] = "Grace"
    with pytest.raises(TypeError):
        del ada[0]
    with pytest.raises(AttributeError):
        ada.name = "Grace"
    assert ada.as_dict() == ADA


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_values_that_do_not_fit_the_columns(values):
    with pytest.raises(ValueError, match="2"):
        Row(Columns(("a", "b")), values)


@pytest.mark.parametrize("arguments", [(), (("a",), (1,)), (None, (1,)), (Columns(("a",)), None)])
def test_what_rows_are_not_made_of(arguments):
    with pytest.raises(TypeError):
        Row(*arguments)


@pytest.mark.parametrize("names", [None, 1, (1,), ("a", None), (b"a",)])
def test_what_columns_are_not_made_of(names):
    with pytest.raises(TypeError):
        Columns(names)


def test_rows_of_a_description():
    made = rows_of(described("id", "name"), [(1, "Ada"), (2, "Grace")])
    assert [type(each) for each in made] == [Row, Row]
    assert [each["name"] for each in made] == ["Ada", "Grace"]
    assert [each.as_dict() for each in made] == [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]
    assert rows_of(described("id"), []) == []


def test_matching():
    match row(id=1, name="Ada"):
        case [number, name]:
            assert (number, name) == (1, "Ada")
        case _:
            pytest.fail("a row is no sequence")


def test_cycles_through_a_row_are_collected():
    class Value:
        pass

    value = Value()
    value.row = row(a=value)
    reference = weakref.ref(value)
    del value
    gc.collect()
    assert reference() is None


def test_making_and_reading_rows_leaves_nothing_behind():
    value = object()
    names = ("a", "b", "c")
    before = sys.getrefcount(value)

    def use():
        made = rows_of(described(*names), [(value, 1, 2)] * 10)
        for each in made:
            (
                each[0],
                each["a"],
                each[:2],
                list(each),
                len(each),
                each.as_dict(),
                each.keys(),
                each == made[0],
                repr(each),
            )
            hash(each)
            with pytest.raises(KeyError):
                each["d"]
            with pytest.raises(IndexError):
                each[3]

    for _ in range(50):
        use()
    gc.collect()
    assert sys.getrefcount(value) == before


@SQLITE
@runs
async def test_names_as_the_driver_has_them(connect):
    async with connect() as database:
        [answer] = await database.query('SELECT 1 AS one, 2 AS "", 3 AS "with space", 4, 5 AS 名前, 6 AS "one"')
        assert answer["one"] == 1
        assert (answer[""], answer["with space"], answer["4"], answer["名前"]) == (2, 3, 4, 5)
        assert tuple(answer) == (1, 2, 3, 4, 5, 6)


@runs
async def test_rows_of_a_query_outlive_the_database(connect):
    async with connect() as database:
        [answer] = await database.query("SELECT 1 AS id, 'Ada' AS name")
    assert answer == pickle.loads(pickle.dumps(answer))
    assert answer.as_dict() == {"id": 1, "name": "Ada"}
