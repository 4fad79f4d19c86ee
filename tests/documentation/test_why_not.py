"""What `docs/why-not.md` says of other packages is still so: its examples run, on the very versions that it names."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTRODUCTION, *SECTIONS = re.split(r"^(?=### )", (ROOT / "docs/why-not.md").read_text("utf-8"), flags=re.MULTILINE)
# What no package index has, or what stands there for documentation only.
NO_PACKAGES = {"CPython", "Redis", "Valkey", "memcached", "PgBouncer"}


def title(section):
    return section.splitlines()[0].removeprefix("### ")


def looked_at(section):
    """The names and versions in a section's second paragraph."""
    [line] = re.findall(r"^\*Looked at: (.+)\.\*$", section, flags=re.MULTILINE)
    return dict(each.split(" ") for each in line.split(", "))


@pytest.mark.parametrize("section", SECTIONS, ids=title)
def test_a_section_says_what_is_better_what_is_lacking_and_when_to_pick_it(section):
    assert looked_at(section)
    for word in ("**Better**", "**Lacks**", "**Pick**"):
        assert word in section


@pytest.mark.parametrize("section", [each for each in SECTIONS if ">>>" in each], ids=title)
def test_the_examples_run(section, tmp_path):
    for package, version in looked_at(section).items():
        if package in NO_PACKAGES:
            continue
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            assert not os.environ.get("KHRONOS_CI"), f"{package} is not installed, and CI runs `make bench` before"
            pytest.skip(f"{package} is not installed: `make bench` does that")
        if found != version:
            pytest.skip(f"the page is about {package} {version}, and here is {found}: look at it anew")
    page = tmp_path / "section.md"
    page.write_text(INTRODUCTION + section, "utf-8")
    # In a process of its own, as some of these leave threads behind, and all of them warnings.
    done = subprocess.run(
        [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE", str(page)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
