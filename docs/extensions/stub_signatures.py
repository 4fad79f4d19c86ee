"""Signatures of compiled functions and classes, with their types: read from the stubs, as only these have types."""

import ast
import functools
import re
from pathlib import Path

import khronos_fast

PACKAGE = Path(khronos_fast.__file__).parent


def setup(app):
    app.connect("autodoc-process-signature", process)
    return {"parallel_read_safe": True}


def process(_app, what, name, _obj, _options, signature, returns):
    definitions = definitions_of(name) if what in ("class", "function", "method") else []
    if len(definitions) == 1 or (definitions and not signature):
        signature, returns = rendered(definitions[-1])
    elif not signature:
        return None
    # An overloaded one keeps the signature that it has at run time, which says it better than each of its overloads.
    return public(signature.replace("Ellipsis", "...")), public(returns or "")


def public(signature):
    """Without the underscores that private names of types have."""
    return re.sub(r"\b_(?=[A-Z])", "", signature)


def definitions_of(name):
    """What the stub says of a public name such as "khronos_fast.Pool.acquire": several definitions if overloaded."""
    found, rest = khronos_fast, name.split(".")[1:]
    while rest and not isinstance(found, type):
        found = getattr(found, rest.pop(0))
    for owner in found.__mro__ if isinstance(found, type) else [found]:
        place = ".".join([owner.__name__, *rest]) if hasattr(owner, "__name__") else ""
        stub = stub_of(getattr(owner, "__module__", None) or "")
        for candidate in (place, f"{place}.__init__", f"{place}.__new__"):
            if candidate in stub:
                return stub[candidate]
    return []


@functools.cache
def stub_of(module):
    """{qualified name: its definitions} of a module that has a stub."""
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".pyi")
    if not module.startswith("khronos_fast.") or not path.is_file():
        return {}
    found = {}

    def collect(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(prefix + node.name, []).append(node)

    collect(ast.parse(path.read_text("utf-8")).body, "")
    return found


def rendered(definition):
    """(arguments, what is returned) of a definition, without `self`."""
    arguments = re.sub(r"^(self|cls)(: [^,]+)?(, |$)(/, )?", "", ast.unparse(definition.args))
    returns = "" if definition.name in ("__init__", "__new__") else ast.unparse(definition.returns)
    return f"({arguments})", returns
