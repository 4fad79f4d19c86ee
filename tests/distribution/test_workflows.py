"""The workflows: least permissions, actions pinned to commits, and the versions of Python that the package names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .support import REPOSITORY, WORKFLOWS, module_or_skip, needs_repository
from .test_metadata import versions

pytestmark = needs_repository
NAMES = sorted(path.name for path in WORKFLOWS.glob("*.yml"))
USES = re.compile(r"^\s*(?:- )?uses: (?P<action>[^@\s]+)(?:@(?P<commit>\S+))?(?P<rest>.*)$", re.MULTILINE)


def workflow(name: str) -> dict:
    # YAML 1.1 takes `on` for a truth value.
    found = module_or_skip("yaml").safe_load((WORKFLOWS / name).read_text())
    return {("on" if key is True else key): value for key, value in found.items()}


def test_the_workflows_are_those_that_this_knows():
    assert NAMES == ["nightly.yml", "publish.yml", "tests.yml", "wheels.yml"]


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_grants_nothing_and_a_job_no_more_than_to_read(name):
    assert workflow(name)["permissions"] == {}
    for job in workflow(name)["jobs"].values():
        allowed = [{}, {"contents": "read"}]
        if job.get("environment") == "pypi":
            allowed = [{"id-token": "write"}]
        assert job["permissions"] in allowed


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_pinned_to_a_commit_and_say_which_version_that_is(name):
    found = list(USES.finditer((WORKFLOWS / name).read_text()))
    assert found
    for use in found:
        if use["action"].startswith("./"):
            assert (REPOSITORY / use["action"]).is_file()
            continue
        assert re.fullmatch("[0-9a-f]{40}", use["commit"] or ""), use[0]
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", use["rest"]), use[0]


def test_an_action_has_one_version_in_all_workflows():
    commits = {}
    for name in NAMES:
        for use in USES.finditer((WORKFLOWS / name).read_text()):
            commits.setdefault(use["action"], set()).add((use["commit"], use["rest"]))
    assert {action: found for action, found in commits.items() if len(found) > 1} == {}


def test_only_the_trusted_publisher_of_a_release_uploads():
    publish = workflow("publish.yml")
    assert publish["on"] == {"release": {"types": ["published"]}}
    uploads = {
        (name, job_name): step
        for name in NAMES
        for job_name, job in workflow(name)["jobs"].items()
        for step in job.get("steps", ())
        if "pypi-publish" in step.get("uses", "") or "twine upload" in step.get("run", "")
    }
    ((place, step),) = uploads.items()
    assert place == ("publish.yml", "publish")
    assert publish["jobs"]["publish"]["environment"] == "pypi"
    assert publish["jobs"]["publish"]["needs"] == "wheels"
    assert step["with"] == {"attestations": True}
    assert "secrets" not in (WORKFLOWS / "publish.yml").read_text()


def test_the_suite_runs_on_each_version_that_the_package_names_and_without_the_gil():
    tested = set(workflow("tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"])
    assert tested == set(versions()) | {f"{version}t" for version in versions() if version >= "3.13"}


@pytest.mark.parametrize("name", NAMES)
def test_the_targets_that_workflows_make_are_in_the_makefile(name):
    targets = set(re.findall(r"^([a-z]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for job in workflow(name)["jobs"].values():
        made = {found for step in job.get("steps", ()) for found in re.findall(r"\bmake ([a-z]+)", step.get("run", ""))}
        made |= {
            row["target"] for row in job.get("strategy", {}).get("matrix", {}).get("include", ()) if "target" in row
        }
        assert made <= targets


@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
def test_wheels_are_built_for_each_version_that_the_package_names(platform):
    module_or_skip("cibuildwheel")
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform, REPOSITORY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    systems = {"linux": ["manylinux", "musllinux"], "macos": ["macosx"], "windows": ["win"]}[platform]
    tags = [f"cp{version.replace('.', '')}" for version in versions()]
    tags += [f"{tag}t" for tag in tags if tag >= "cp314"]
    assert sorted(line.partition("_")[0] for line in done.stdout.split()) == sorted(
        f"{tag}-{system}" for tag in tags for system in systems
    )


def test_zizmor_finds_nothing():
    zizmor = Path(sys.executable).with_name("zizmor")
    if not zizmor.is_file():
        assert os.environ.get("KHRONOS_CI") != "1"
        pytest.skip("zizmor is needed: `make lint` installs it")
    command = [zizmor, "--offline", "--quiet", REPOSITORY / ".github"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
