"""`Template` and `KeyFunction`: keys as `str.format` would make them, and errors as the function would raise them."""

import datetime
import enum
import functools
import inspect

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from khronos_fast.tiers.template import KeyFunction, Template


class User:
    id = 7
    tags = ("a", "b")
    names = {"first": "Ada", "last name": "Lovelace", "1": "one"}

    def __str__(self):
        return "a user"


def projects(user_id, page=1, *, order="name"):
    pass


def positional_only(user_id, page=1, /, user=None):
    pass


def greedy(first, *rest, last="z", **options):
    pass


class TestKeys:
    @pytest.mark.parametrize(
        ("template", "function", "args", "kwargs", "key"),
        [
            ("user:{user_id}:projects", projects, (42,), {}, "user:42:projects"),
            ("user:{user_id}:projects", projects, (), {"user_id": "ada"}, "user:ada:projects"),
            ("{user_id}", projects, ("",), {}, ""),
            ("{user_id}{page}{order}{user_id}", projects, (1, 2), {"order": 3}, "1231"),
            ("p:{page}:{order}", projects, (1,), {}, "p:1:name"),
            ("p:{page}", projects, (1,), {"page": 2}, "p:2"),
            ("{{{user_id}}}'\\n\"", projects, (1,), {}, "{1}'\\n\""),
            ("é:{user_id}:\udc80", projects, ("ü",), {}, "é:ü:\udc80"),
            ("{page}", positional_only, (5,), {}, "1"),
            ("{page}:{user}", positional_only, (5, 6), {"user": 7}, "6:7"),
            ("{first}{last}", greedy, ("a", "b", "c"), {"last": "y", "more": 1}, "ay"),
            ("{first}{last}", greedy, (), {"first": "a"}, "az"),
        ],
    )
    def test_fields(self, template, function, args, kwargs, key):
        assert Template(template, function).key_of(args, kwargs) == key

    @pytest.mark.parametrize("value", [None, True, 0, -1.5, "", "x:y", b"x", (1, 2), User(), datetime.date(2026, 1, 2)])
    def test_values_are_as_text_has_them(self, value):
        def f(x): ...

        assert Template("a:{x}:b", f).key_of((value,), {}) == f"a:{value!s}:b"

    def test_enumerations_as_format_has_them(self):
        class Color(enum.IntEnum):
            RED = 1

        def f(x): ...

        assert Template("{x}", f).key_of((Color.RED,), {}) == f"{Color.RED}"

    @pytest.mark.parametrize(
        "template",
        [
            "{user.id}",
            "u:{user.id}:{user.tags[1]}",
            "{user.names[first]}",
            "{user.names[last name]}",
            "{user.tags[0]}{user.tags}",
            "{user!s}{user!r:.5}{user!a:>40}",
            "{user.id:05d}",
            "{user.__class__.__name__}",
        ],
    )
    def test_the_rest_of_the_language(self, template):
        def f(user): ...

        user = User()
        assert Template(template, f).key_of((user,), {}) == template.format(user=user)

    def test_attributes_that_are_no_identifiers(self):
        class Odd:
            def __getattr__(self, name):
                return f"<{name}>"

        def f(x): ...

        assert Template("{x.class}{x.a b}{x.ﬁ}{x.ok}", f).key_of((Odd(),), {}) == "<class><a b><ﬁ><ok>"

    def test_indexes_are_numbers_where_they_look_like_it(self):
        def f(x): ...

        assert Template("{x[1]}{x[-1]}", f).key_of(({1: "a", "-1": "b"},), {}) == "ab"

    def test_types_may_be_told_apart(self):
        def f(x): ...

        assert Template("{x}", f).key_of((1,), {}) == Template("{x}", f).key_of(("1",), {})
        assert Template("{x!r}", f).key_of((1,), {}) != Template("{x!r}", f).key_of(("1",), {})

    def test_methods(self):
        class Shop:
            id = 3

            def orders(self, user): ...

        assert Template("shop:{self.id}:{user}", Shop.orders).key_of((Shop(), 5), {}) == "shop:3:5"

    def test_partials_and_instances(self):
        class Callable:
            def __call__(self, x, y=2): ...

        assert Template("{user_id}:{page}", functools.partial(projects, page=9)).key_of((1,), {}) == "1:9"
        assert Template("{x}:{y}", Callable()).key_of((1,), {}) == "1:2"

    def test_names_that_the_generated_code_has_too(self):
        def f(_, _0, __1__, key, make, getattr, format): ...  # noqa: A002

        template = Template("{_}{_0}{__1__}{key}{make}{getattr.x y}{format:>3}:", f)

        class Odd:
            def __getattr__(self, name):
                return name

        assert template.key_of((0, 1, 2, 3, 4, Odd(), 6), {}) == "01234x y  6:"

    def test_defaults_are_the_very_objects(self):
        class Default:
            def __format__(self, spec):
                return f"<{spec}>"

        def f(x=Default()): ...  # noqa: B008

        assert Template("{x:abc}", f).key_of((), {}) == "<abc>"

    def test_nothing_in_a_template_is_code(self):
        def f(x): ...

        for text in ("'+1/0+'", "\\", "\n", "{{x}}", "{x:'!r}", "';import os'"):
            try:
                wanted = text.format(x="v")
            except ValueError as error:
                with pytest.raises(ValueError, match=str(error)[:10]):
                    Template(text, f).key_of(("v",), {})
            else:
                assert Template(text, f).key_of(("v",), {}) == wanted
        with pytest.raises(AttributeError):
            Template("{x.y.__import__('os')}", f).key_of((1,), {})

    def test_fields_by_name(self):
        assert Template("{user_id}{page}{user_id.x}", projects).fields == ("user_id", "page")
        assert Template("all", projects).fields == ()
        assert repr(Template("{page}", projects)) == "Template('{page}')"
        assert Template("{page}", projects).text == "{page}"

    def test_annotations_are_not_run(self):
        namespace = {}
        exec("from __future__ import annotations\ndef f(x: Missing) -> Missing: ...", namespace)
        assert Template("{x}", namespace["f"]).key_of((1,), {}) == "1"


class TestRefusedTemplates:
    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("user:{id}", r"'user:{id}' has a field 'id', which projects\(user_id, page, order\) has no parameter for"),
            ("{user id}", "has a field 'user id', which"),
            ("{user_id", "not well-formed"),
            ("user_id}", "not well-formed: Single '}'"),
            ("{user_id!}", "not well-formed"),
            ("{user_id!x}", "conversion !x"),
            ("{}", r"a field without a name, \{}; write {user_id}"),
            ("{0}", r"a field without a name, \{0}; write {user_id}"),
            ("{0.x}", r"a field without a name, \{0.x}; write {user_id}"),
            ("{user_id[}", "not well-formed"),
            ("{user_id[]}", "'user_id\\[\\]' that is none"),
            ("{user_id.}", "'user_id.' that is none"),
            ("{user_id..x}", "that is none"),
            ("{user_id[0]x}", "that is none"),
            ("{user_id:{page}}", "a field in the format of 'user_id'"),
        ],
    )
    def test_value_errors(self, template, message):
        with pytest.raises(ValueError, match=message):
            Template(template, projects)

    @pytest.mark.parametrize("field", ["rest", "options", "rest[0]", "options[x]"])
    def test_those_that_take_any_number(self, field):
        with pytest.raises(ValueError, match=rf"which is \*+{field.split('[')[0]} in greedy; give a key function"):
            Template(f"{{{field}}}", greedy)

    def test_the_hint_leaves_self_out(self):
        class Shop:
            def orders(self, user): ...

            def all(self): ...

        with pytest.raises(ValueError, match=r"write \{user\}"):
            Template("{}", Shop.orders)
        with pytest.raises(ValueError, match=r"write \{name\}"):
            Template("{}", Shop.all)

    @pytest.mark.parametrize("template", [None, 5, b"{user_id}", ["x"]])
    def test_no_text(self, template):
        with pytest.raises(TypeError, match="a template must be a str, not"):
            Template(template, projects)

    def test_no_signature(self):
        with pytest.raises(TypeError, match=r"can't be known .* give a key function"):
            Template("{x}", max)


class TestRefusedCalls:
    """With the very words of the function."""

    CALLS = [
        ((), {}),
        ((), {"page": 1}),
        ((1, 2, 3), {}),
        ((1,), {"user_id": 1}),
        ((1,), {"user": 2}),
        ((1, 2), {"page": 1}),
        ((), {"user_id": 1}),
    ]

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("function", [projects, positional_only, greedy, User.__str__, lambda user_id: None])
    def test_as_the_function(self, function, call):
        args, kwargs = call
        name = next(iter(inspect.signature(function).parameters))
        template = Template(f"{{{name}}}", function)
        outcomes = []
        for call in (lambda: function(*args, **kwargs), lambda: template.key_of(args, kwargs)):
            try:
                call()
                outcomes.append(None)
            except TypeError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]

    def test_errors_of_the_values_come_through(self):
        def f(x): ...

        with pytest.raises(AttributeError, match="'int' object has no attribute 'id'"):
            Template("{x.id}", f).key_of((1,), {})
        with pytest.raises(KeyError):
            Template("{x[id]}", f).key_of(({},), {})
        with pytest.raises(ValueError, match="Unknown format code"):
            Template("{x:d}", f).key_of(("x",), {})


KINDS = [
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
]


@st.composite
def signatures(draw):
    kinds = sorted(draw(st.lists(st.sampled_from([*KINDS[:2], KINDS[3]]), max_size=5)))
    kinds = sorted([*kinds, *draw(st.sets(st.sampled_from([KINDS[2], KINDS[4]])))])
    parameters, defaults = [], False
    for i, kind in enumerate(kinds):
        default = inspect.Parameter.empty
        if kind in (KINDS[0], KINDS[1], KINDS[3]):
            if kind == KINDS[3]:
                defaults = False
            if defaults or draw(st.booleans()):
                default, defaults = f"default {i}", True
        parameters.append(inspect.Parameter(f"p{i}", kind, default=default))
    return inspect.Signature(parameters)


@given(
    signatures(),
    st.lists(st.integers(), max_size=5),
    st.dictionaries(st.sampled_from(["p0", "p1", "p2", "p3", "x"]), st.text(max_size=2), max_size=3),
)
def test_any_signature_takes_what_it_should(signature, args, kwargs):
    def function(*args, **kwargs): ...

    function.__signature__ = signature
    by_position = {name for name, each in signature.parameters.items() if each.kind == KINDS[0]}
    # Where they may be in **kwargs as well, the interpreter puts them there, and `bind` of Python 3.11 refuses them.
    assume(not by_position & kwargs.keys())
    fields = [name for name, each in signature.parameters.items() if each.kind not in (KINDS[2], KINDS[4])]
    template = Template("|".join(f"{{{name}}}" for name in fields) + "|", function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            template.key_of(tuple(args), kwargs)
    else:
        bound.apply_defaults()
        assert template.key_of(tuple(args), kwargs) == "|".join(str(bound.arguments[name]) for name in fields) + "|"


@given(st.text(alphabet="ab{}!:[].0r ", max_size=12))
def test_any_text_is_a_template_or_refused(text):
    """What is accepted says what `str.format` says, of a value that has everything."""

    class Everything:
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Everything()

        def __getitem__(self, index):
            return Everything()

        def __format__(self, spec):
            return f"<{spec}>"

        def __repr__(self):
            return "everything"

    def f(a, b): ...

    try:
        template = Template(text, f)
    except ValueError:
        return
    key = template.key_of((Everything(), Everything()), {})
    try:
        wanted = text.format(a=Everything(), b=Everything())
    except ValueError:  # it is stricter with what comes behind an index
        return
    assert key == wanted


class TestKeyFunctions:
    def test_gets_the_arguments_of_the_call(self):
        assert KeyFunction(lambda *a, **k: f"{a}{k}").key_of((1, 2), {"x": 3}) == "(1, 2){'x': 3}"

    @pytest.mark.parametrize("key", [None, 5, b"x", ("a",)])
    def test_must_return_text(self, key):
        with pytest.raises(TypeError, match=rf"must return a str, not {type(key).__name__}"):
            KeyFunction(lambda: key).key_of((), {})

    def test_must_be_a_plain_function(self):
        async def key(x): ...

        with pytest.raises(TypeError, match="is async; it must be a plain function"):
            KeyFunction(key)
        with pytest.raises(TypeError, match="must be callable, not int"):
            KeyFunction(5)

    def test_its_errors_come_through(self):
        with pytest.raises(ZeroDivisionError):
            KeyFunction(lambda: 1 / 0).key_of((), {})

    def test_repr(self):
        assert repr(KeyFunction(str)) == "KeyFunction(<class 'str'>)"
