"""Docstrings mark code as Markdown does, by single backticks; reStructuredText, which autodoc wants, by two.

So each `name` becomes a literal, or, where it is a public name of the package, a link to its place in the API.
"""

import inspect
import re

import khronos_fast

PROMPT = re.compile(r"\s*>>>")
# A run of backticks, what it encloses, and the same run again: may go on over the end of a line.
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def setup(app):
    # Before napoleon, which makes fields of the sections and leaves the text in them alone.
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}


def process(_app, what, name, _obj, _options, lines):
    lines[:] = marked("\n".join(lines), name).split("\n")
    if what in ("attribute", "property"):
        lines.insert(0, "")  # of these, napoleon takes what is before a colon in the first line for their type


def marked(text, name=""):
    """The docstring of `name` in the markup of reStructuredText; its examples stay as they are."""
    paragraphs = re.split(r"(\n[ \t]*\n)", text)
    return "".join(
        each if PROMPT.match(each) else CODE.sub(lambda match: markup(match[1], name), each) for each in paragraphs
    )


def markup(code, name):
    code = re.sub(r"\s*\n\s*", " ", code)
    target = public_target(code, name)
    return f":py:obj:`{code} <{target}>`" if target else f"``{code}``"


def public_target(code, name):
    """The full name of what `code` names: a public name, or a method of one; None: it is just code."""
    words = code.removesuffix("()").split(".")
    found = khronos_fast
    if words[0] not in khronos_fast.__all__ or not all(word.isidentifier() for word in words):
        return None
    for word in words:
        found = inspect.getattr_static(found, word, None) if inspect.isclass(found) else getattr(found, word, None)
        if found is None:
            return None
    target = ".".join(["khronos_fast", *words])
    return None if f"{name}.".startswith(f"{target}.") else target  # no link from a thing to itself
