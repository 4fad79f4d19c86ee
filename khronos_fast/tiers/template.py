"""`Template` and `KeyFunction`: what makes a key of the arguments of a call.

A template is made into a function, once: of the parameters that the decorated function has, with an f-string for its
body. So the interpreter itself puts the arguments where they belong, defaults too, and refuses a call that the function
would refuse, with the same error; nothing is bound by hand at each call. Nothing that a template says gets into the
source of that function but names of parameters and attributes: texts, indexes and formats are constants beside it.
"""

from __future__ import annotations

import inspect
import keyword
import re
import string
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from khronos_fast._core.cached import is_any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import Parameter

# A name, then any number of .attribute and [index].
_FIELD = re.compile(r"([^.\[\]]*)((?:\.[^.\[\]]+|\[[^\]]+\])*)")
_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]+)\]")


class _Piece(NamedTuple):
    """A part of a template: text, or what a field is filled with."""

    text: str = ""
    name: str = ""
    """The parameter; empty: it is text."""
    steps: tuple[tuple[bool, str], ...] = ()
    """Attributes (True) and indexes."""
    spec: str = ""
    conversion: str | None = None


class Template:
    """A template of keys for the calls of one function, as `"user:{user_id}:projects"`.

    A field is the name of a parameter, and may go on as in `str.format`: `{user.id}`, `{row[0]}`, `{name!r}`,
    `{day:%Y-%m-%d}`. It is filled with what the argument is as text, or the default where the argument is left out; so
    1 and "1" are the same, unless the field is `{name!r}`. Parameters that no field names do not tell calls apart.

    Args:
        text: the template.
        function: whose calls they are.
        name: what errors call it; without it, the function's own name.

    Raises:
        TypeError: for a template that is no str, or something that is no function.
        ValueError: for what is no template, or none of this function: braces that have no partner, a field that is no
            parameter, has no name, is `*args` or `**kwargs` (which have no one text), or has a field in its format.

    >>> def projects(user_id, *, page=1): ...
    >>> template = Template("user:{user_id}:projects:{page:03}", projects)
    >>> template.key_of((42,), {}), template.key_of((), {"user_id": "ada", "page": 7})
    ('user:42:projects:001', 'user:ada:projects:007')
    >>> template.key_of((), {})
    Traceback (most recent call last):
    TypeError: projects() missing 1 required positional argument: 'user_id'
    >>> Template("user:{id}", projects)
    Traceback (most recent call last):
    ValueError: the template 'user:{id}' has a field 'id', which projects(user_id, page) has no parameter for
    """

    __slots__ = ("fields", "make", "text")

    def __init__(self, text: str, function: Callable[..., Any], *, name: str | None = None) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a template must be a str, not {type(text).__name__}")
        name = name or name_of(function)
        parameters = parameters_of(function, name)
        pieces = _parse(text, parameters, name)
        self.text: str = text
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(piece.name for piece in pieces if piece.name))
        """The parameters that it names."""
        self.make: Callable[..., str] = _compile(pieces, parameters, name)
        """Called as the function is, it returns the key."""

    def key_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a call. Raises the TypeError that such a call of the function would, if it would."""
        return self.make(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class KeyFunction:
    """A function that makes the keys, where a template can't say it; called with the arguments of the call.

    Raises:
        TypeError: for what is no plain function; at a call, where it returns anything but a str.

    >>> KeyFunction(lambda *tags: "tagged:" + ",".join(sorted(tags))).key_of(("b", "a"), {})
    'tagged:a,b'
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., str]) -> None:
        if not callable(function):
            raise TypeError(f"a key function must be callable, not {type(function).__name__}")
        if is_any(inspect.iscoroutinefunction, function):
            raise TypeError(f"the key function {name_of(function)} is async; it must be a plain function")
        self._function = function

    def make(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of a call with these arguments."""
        key = self._function(*args, **kwargs)
        if not isinstance(key, str):
            raise TypeError(f"the key function {name_of(self._function)} must return a str, not {type(key).__name__}")
        return key

    def key_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a call."""
        return self.make(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._function!r})"


def name_of(function: Any) -> str:
    """What errors call a function."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def parameters_of(function: Callable[..., Any], name: str) -> Mapping[str, Parameter]:
    """Return the parameters of a function by name. Raises TypeError where it has none that can be known."""
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            # Annotations are not run; they may name what there is for type checkers only.
            return inspect.signature(function, annotation_format=Format.FORWARDREF).parameters
        return inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise TypeError(f"what parameters {name} has can't be known ({error}); give a key function") from error


# ---------------------------------------------------------------------- reading a template


def _parse(text: str, parameters: Mapping[str, Parameter], function: str) -> list[_Piece]:
    said = f"the template {text!r}"
    names = ", ".join(parameters)
    pieces = []
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{said} is not well-formed: {error}; a brace that is text is written twice") from error
    for literal, field, spec, conversion in parts:
        if literal:
            pieces.append(_Piece(literal))
        if field is None:
            continue
        found = _FIELD.fullmatch(field)
        if found is None:
            raise ValueError(
                f"{said} has a field {field!r} that is none; write {{name}}, {{name.attribute}}, {{name[0]}}"
            )
        name, rest = found.groups()
        if not name or name.isdecimal():
            example = next((each for each in parameters if each not in ("self", "cls")), "name")
            raise ValueError(f"{said} has a field without a name, {{{field}}}; write {{{example}}}, say")
        parameter = parameters.get(name)
        if parameter is None:
            raise ValueError(f"{said} has a field {name!r}, which {function}({names}) has no parameter for")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"{said} has a field {name!r}, which is {parameter} in {function}; give a key function")
        if conversion not in (None, "r", "s", "a"):
            raise ValueError(f"{said} has a conversion !{conversion}; there are !r, !s and !a")
        if spec and "{" in spec:
            raise ValueError(f"{said} has a field in the format of {name!r}; give a key function")
        steps = tuple((bool(attribute), attribute or index) for attribute, index in _STEP.findall(rest))
        pieces.append(_Piece("", name, steps, spec or "", conversion))
    return pieces


# ---------------------------------------------------------------------- making a function of it


def _compile(pieces: list[_Piece], parameters: Mapping[str, Parameter], function: str) -> Callable[..., str]:
    constants: dict[str, Any] = {}
    prefix = "_"
    while any(name.startswith(prefix) for name in parameters):
        prefix += "_"

    def constant(value: Any) -> str:
        name = f"{prefix}{len(constants)}"
        constants[name] = value
        return name

    signature = _declare(parameters, constant)
    body = "".join(f"{{{constant(piece.text)}}}" if piece.text else _fill_in(piece, constant) for piece in pieces)
    namespace: dict[str, Any] = {"__builtins__": {}}
    source = f"def make({', '.join(constants)}):\n    def key({signature}):\n        return f'{body}'\n    return key"
    exec(compile(source, f"<key of {function}>", "exec"), namespace)
    make: Callable[..., str] = namespace["make"](**constants)
    make.__name__ = make.__qualname__ = function  # for the errors
    return make


def _declare(parameters: Mapping[str, Parameter], constant: Callable[[Any], str]) -> str:
    """Write the parameters down."""
    declared = []
    kinds = [parameter.kind for parameter in parameters.values()]
    for i, parameter in enumerate(parameters.values()):
        kind = parameter.kind
        if kind == parameter.KEYWORD_ONLY and kinds[i - 1 : i] != [kind] and parameter.VAR_POSITIONAL not in kinds:
            declared.append("*")
        stars = "*" if kind == parameter.VAR_POSITIONAL else "**" if kind == parameter.VAR_KEYWORD else ""
        default = "" if parameter.default is parameter.empty else f"={constant(parameter.default)}"
        declared.append(stars + parameter.name + default)
        if kind == parameter.POSITIONAL_ONLY and kinds[i + 1 : i + 2] != [kind]:
            declared.append("/")
    return ", ".join(declared)


def _fill_in(piece: _Piece, constant: Callable[[Any], str]) -> str:
    """Write a field as one of an f-string."""
    what = piece.name
    for is_attribute, name in piece.steps:
        if not is_attribute:
            what += f"[{constant(int(name) if name.isdecimal() else name)}]"
        elif name.isidentifier() and name.isascii() and not keyword.iskeyword(name):
            what += f".{name}"
        else:
            what = f"{constant(getattr)}({what}, {constant(name)})"
    conversion = f"!{piece.conversion}" if piece.conversion else ""
    spec = f":{{{constant(piece.spec)}}}" if piece.spec else ""
    return f"{{{what}{conversion}{spec}}}"
