"""The keys of calls, where several functions share a cache: they can be read, copied and pickled, and stay equal."""

import copy
import pickle

import pytest

from khronos_fast import MemoryCache, cached
from khronos_fast._core.call_key import find_scope

shared = MemoryCache(100)


@cached(shared)
def page(number, *, language="en"):
    return number, language


@cached(shared, typed=True)
def typed_page(number):
    return number


class Site:
    @cached(shared)
    def home(self, user):
        return user


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda key: pickle.loads(pickle.dumps(key))])
@pytest.mark.parametrize(
    "key",
    [page.cache_key(1), page.cache_key(1, language="de"), typed_page.cache_key(1.0), typed_page.cache_key(True)],
    ids=repr,
)
def test_a_copy_is_equal_and_finds_the_same(key, again):
    other = again(key)
    assert other == key
    assert (other != key) is False
    assert hash(other) == hash(key)
    found = MemoryCache(5)
    found[key] = "found"
    assert found[other] == "found"
    assert repr(other) == repr(key)


def test_a_cache_comes_back_with_the_calls_in_it():
    page.cache_delete(7, language="fr")
    assert page(7, language="fr") == (7, "fr")
    back = pickle.loads(pickle.dumps(shared))
    assert back[page.cache_key(7, language="fr")] == (7, "fr")


def test_it_is_shown_as_the_call_it_is_of():
    assert repr(page.cache_key(1, language="de")) == f"CallKey({__name__}.page, 1, language='de')"
    assert repr(typed_page.cache_key("a")) == f"CallKey({__name__}.typed_page, 'a')"
    alone = cached(lambda *args, **kwargs: None)
    assert repr(alone.cache_key(1, 2, x=3)) == "CallKey(1, 2, x=3)"


def test_calls_of_different_functions_and_types_are_different():
    keys = [page.cache_key(1), typed_page.cache_key(1), typed_page.cache_key(1.0), typed_page.cache_key(True)]
    assert len(set(keys)) == len(keys)
    assert page.cache_key(1) == page.cache_key(1.0)
    assert page.cache_key(1) != 1
    assert (page.cache_key(1) == (1,)) is False


def test_calls_that_collide_are_told_apart():
    class Name(str):
        __slots__ = ()

        def __hash__(self):
            return 1

    f = cached(lambda *args, **kwargs: None)
    one, other = f.cache_key(Name("a"), Name("b")), f.cache_key(Name("b"), Name("a"))
    assert one != other
    assert f.cache_key(x=1, y=2) == f.cache_key(y=2, x=1)


def test_the_scope_is_found_by_name():
    scope = page.cache_key(1).__reduce__()[1][0]
    assert find_scope(__name__, "page") is scope
    assert copy.copy(scope) is copy.deepcopy(scope) is scope
    assert find_scope(__name__, "Site.home") is not None
    assert find_scope("no_such_module_anywhere", "page") is None
    assert find_scope(__name__, "no_such_name") is None


def test_a_function_that_is_not_found_by_its_name_has_keys_that_are_not_pickled():
    @cached(shared)
    def hidden(x):
        return x

    with pytest.raises(pickle.PicklingError, match=r"hidden.*not found under that name"):
        pickle.dumps(hidden.cache_key(1))


def test_a_key_that_lost_its_hash_on_the_way_is_refused():
    """What had a hash where it was pickled may have none where it comes back."""
    restore, arguments = page.cache_key(1).__reduce__()
    with pytest.raises(TypeError, match="unhashable"):
        restore(arguments[0], ([],), *arguments[2:])


def test_none_is_made_by_hand():
    with pytest.raises(TypeError, match="cache_key"):
        type(page.cache_key(1))()
