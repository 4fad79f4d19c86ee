"""What the package says of itself, where it is installed and in pyproject.toml."""

import re
from importlib.metadata import metadata, version

import khronos_fast

from .support import PROJECT, REPOSITORY

VERSION = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def versions() -> list[str]:
    return [found[1] for classifier in PROJECT["classifiers"] if (found := VERSION.fullmatch(classifier))]


def test_the_version_has_one_source():
    assert version("khronos-fast") == khronos_fast.__version__
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT


def test_the_newest_entry_of_the_change_log_is_not_older_than_the_version():
    headings = re.findall(
        r"^## .*?(\d+\.\d+\.\d+|[Uu]nreleased)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert headings
    assert headings[0] in (khronos_fast.__version__, "Unreleased", "unreleased")


def test_it_needs_no_other_package():
    required = metadata("khronos-fast").get_all("Requires-Dist") or []
    assert [requirement for requirement in required if "extra ==" not in requirement] == []
    assert "dependencies" not in PROJECT


def test_the_extras_are_those_that_the_contract_names():
    assert {"redis", "postgres", "prometheus", "bench"} <= set(metadata("khronos-fast").get_all("Provides-Extra"))
    assert set(metadata("khronos-fast").get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_the_license_is_an_expression_and_a_file():
    assert metadata("khronos-fast")["License-Expression"] == "MIT"
    assert metadata("khronos-fast").get_all("License-File") == ["LICENSE"]


def test_the_versions_of_python_are_in_a_row_from_the_oldest_required():
    minors = [int(version.partition(".")[2]) for version in versions()]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert metadata("khronos-fast")["Requires-Python"] == PROJECT["requires-python"]
