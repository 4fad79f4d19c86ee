"""One fuzzer, in the process that the command starts for it: `python -m tests.fuzz.engine TARGET LIBFUZZER-ARGUMENTS`.

What it imports is the build whose branches report to the fuzzer; the codec's Python half is made to report by atheris.
All else, the tests' models above all, is left as it is: there is nothing to be found in it.
"""

import gc
import sys

import atheris

from .targets import load

CODEC = [f"khronos_fast.tiers.{module}" for module in ("json_codec", "payload", "pickle_codec", "typed_json")]


def main() -> None:
    target, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=CODEC):
        import khronos_fast.tiers  # noqa: F401 - imported here for what goes with it
    run = load(target)
    gc.freeze()  # what is there by now is not looked through again
    # To merge, the fuzzer starts itself once more, by the shell and by this name.
    atheris.Setup([f"{sys.executable} -P -m {__spec__.name} {target}", *arguments], run)
    atheris.Fuzz()


main()
