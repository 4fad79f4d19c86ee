"""Build what is published, and test it as those get it who install it: `make wheel`.

The source distribution, the wheel from nothing but that and without a package index, repaired for the oldest Linux that
it runs on. Then, with no compiler on the path, an environment that holds the wheel alone: it is imported, all its names
are asked for, and the bench runs. At last the tests run on it, from a folder that holds no sources of the package.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LARGEST = 2_000_000
# Left where it is: what builds, tests and tools leave in a working tree, and what belongs to the repository alone.
LEFTOVERS = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "*.pyd")
COMPILER = re.compile(r"(.*-)?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|cpp|tcc|c89|c99|as|ld|lld)([-.].*)?")
# The groups of what tests need that not every Python has a wheel of.
OPTIONAL = ("speedups", "postgres", "health", "cluster")
# One of each group, so that all of the package that can run by itself does; the whole bench is `make bench`.
WORKLOADS = ("memory/get-hit", "memo/hit-str", "pattern/match-general", "pool/acquire", "tiers/memory-hit")
PASSED, NOTHING_SELECTED = 0, 5  # pytest's exit codes
ALONE = """
import sys
from importlib.metadata import distributions
import khronos_fast
assert khronos_fast.__file__.startswith(sys.prefix), khronos_fast.__file__
others = {found.name for found in distributions()} - {"khronos-fast"}
assert not others, others
from khronos_fast import *
cache = khronos_fast.MemoryCache(maxsize=2, ttl=60)
assert cache.get_or_compute("key", lambda: 1) == cache["key"] == 1
tiered = khronos_fast.TieredCache(10)
assert tiered.get_or_compute("key", lambda: 2) == tiered.get("key") == 2
tiered.close()
print(f"{len(khronos_fast.__all__)} public names of version {khronos_fast.__version__}, from {khronos_fast.__file__}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where both distributions go (default: dist)")
    parser.add_argument("tests", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="khronos-wheel-") as name:
        work = Path(name)
        sdist = build_sdist(work)
        sources = unpack(sdist, work)
        wheel = repair(build_wheel(sdist, work), work)
        check_contents(wheel)
        check_metadata(sdist, wheel)
        options.out.mkdir(parents=True, exist_ok=True)
        for built in (sdist, wheel):
            shutil.copy2(built, options.out)
        python, environment = install_alone(wheel, work)
        try_alone(python, environment, work)
        test(python, environment, sources, options.tests)
    say(f"all is well: {sdist.name}, {wheel.name}")


def say(what: str) -> None:
    print(f"\n--- {what}", flush=True)


def run(*command: object, **options: object) -> None:
    """Run a command; if it fails, so does this one, and the command has said why."""
    code = subprocess.run([str(part) for part in command], **options).returncode
    if code:
        sys.exit(f"failed ({code}): {' '.join(map(str, command))}")


# ---------------------------------------------------------------- the two distributions


def build_sdist(work: Path) -> Path:
    """Build it from a copy of the working tree, as setuptools writes into the folder that it reads."""
    say("the source distribution")
    shutil.copytree(ROOT, work / "tree", ignore=LEFTOVERS)
    run(sys.executable, "-m", "build", "--quiet", "--sdist", "--no-isolation", "--outdir", work, work / "tree")
    (sdist,) = work.glob("*.tar.gz")
    print(f"{sdist.name}: {sdist.stat().st_size:,} bytes")
    return sdist


def unpack(sdist: Path, work: Path) -> Path:
    """Unpack it, and take the package's own folder away: what is left is what the tests may see."""
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
        generated = [name for name in names if name.endswith((".so", ".pyd", ".pyc", ".o"))]
        generated += [name for name in names if name.endswith(".c") and name.startswith(("build/", "khronos_fast/"))]
        needed = {"LICENSE", "CHANGELOG.md", "README.md", "Makefile", "setup.py", "pyproject.toml"}
        needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "khronos_fast").rglob("*.p[yx][xid]")}
        needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
        if generated or not needed <= set(names):
            sys.exit(f"{sdist.name} holds what was generated: {generated}; it lacks {sorted(needed - set(names))}")
        archive.extractall(work / "unpacked", filter="data")
    (sources,) = (work / "unpacked").iterdir()
    shutil.rmtree(sources / "khronos_fast")
    shutil.rmtree(sources / "khronos_fast.egg-info")
    (sources / "setup.py").unlink()
    return sources


def build_wheel(sdist: Path, work: Path) -> Path:
    """Build it offline: what the build requires is in this environment."""
    say("the wheel, from the source distribution, without an index")
    (work / "build.cfg").write_text(f"[build_ext]\nparallel = {os.cpu_count()}\n")
    environment = {"DIST_EXTRA_CONFIG": str(work / "build.cfg")} | os.environ
    if sys.platform == "linux":  # what `repair` strips need not be compiled: a tenth of the time
        environment["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} -g0"
    offline = ("--no-index", "--no-build-isolation", "--no-deps", "--no-cache-dir")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", work / "raw", sdist, env=environment)
    (wheel,) = (work / "raw").glob("*.whl")
    return wheel


def repair(wheel: Path, work: Path) -> Path:
    """Strip it, and give it the name of the oldest Linux that it runs on; elsewhere it stays as it is."""
    if sys.platform != "linux":
        return wheel
    command = [sys.executable, "-m", "auditwheel", "repair", "--strip", "--wheel-dir", work / "repaired", wheel]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"auditwheel:\n{done.stdout}\n{done.stderr}")
    (repaired,) = (work / "repaired").glob("*.whl")
    return repaired


def check_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    size = wheel.stat().st_size
    wrong = [f"{size:,} bytes, more than {LARGEST:,}"] if size > LARGEST else []
    unwanted = (".c", ".h", ".pyx", ".pxd", ".o", ".pyc")
    wrong += [f"holds {name}" for name in sorted(names) if name.endswith(unwanted) or "tests/" in name]
    needed = {"khronos_fast/py.typed", "khronos_fast/health/dashboard.html"}
    compiled = {name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    sources = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "khronos_fast").rglob("*.pyx")}
    needed |= {f"{module}.pyi" for module in compiled | sources}
    wrong += [f"lacks {name}" for name in sorted(needed - names)]
    wrong += [f"lacks {name}, compiled" for name in sorted(sources - compiled)]
    if wrong:
        sys.exit(f"{wheel.name}: {'; '.join(wrong)}")
    print(f"{wheel.name}: {size:,} bytes, {len(compiled)} compiled modules, each with its stub")


def check_metadata(sdist: Path, wheel: Path) -> None:
    if find_spec("twine") is None:
        print("twine is not here: the metadata was not checked")
        return
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)


# ---------------------------------------------------------------- as those get it who install it


def without_compilers(work: Path) -> dict[str, str]:
    """Return an environment whose path is one folder, with a link to each program on this one's but the compilers."""
    links = work / "bin"
    links.mkdir()
    for folder in map(Path, os.get_exec_path()):
        for program in folder.iterdir() if folder.is_dir() else ():
            if not COMPILER.fullmatch(program.name) and not (links / program.name).is_symlink():
                (links / program.name).symlink_to(program.absolute())
    dropped = {"CC", "CXX", "CPP", "LD", "LDSHARED", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= {"PATH": str(links), "PYTHONSAFEPATH": "1"}
    found = [name for name in ("cc", "gcc", "g++", "clang", "ld") if shutil.which(name, path=environment["PATH"])]
    if found:
        sys.exit(f"still on the path: {found}")
    return environment


def install(python: Path, *what: str, **options: object) -> bool:
    """Install into another environment, from wheels alone, by this one's pip."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python))
    return not subprocess.run([*pip, "install", "--quiet", "--only-binary=:all:", *what], **options).returncode


def install_alone(wheel: Path, work: Path) -> tuple[Path, dict[str, str]]:
    say("an environment with nothing but the wheel, and no compiler on its path")
    environment = without_compilers(work)
    run(sys.executable, "-m", "venv", "--without-pip", work / "environment", env=environment)
    python = work / "environment" / "bin" / "python"
    if not install(python, "--no-index", "--no-deps", str(wheel), env=environment):
        sys.exit(f"{wheel.name} does not install")
    return python, environment


def try_alone(python: Path, environment: dict[str, str], work: Path) -> None:
    run(python, "-c", ALONE, env=environment, cwd=work)
    only = [part for workload in WORKLOADS for part in ("--only", workload)]
    bench = [str(python), "-m", "khronos_fast.bench", "--quick", *only]
    done = subprocess.run(bench, capture_output=True, text=True, env=environment, cwd=work)
    missing = dict.fromkeys(re.findall(r"^missing: (\S+)", done.stdout + done.stderr, re.MULTILINE))
    if done.returncode or "cachetools" not in missing or not all(name in done.stdout for name in WORKLOADS):
        sys.exit(f"the bench, alone ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    print(f"the bench runs, and names what is missing: {', '.join(missing)}")


def test(python: Path, environment: dict[str, str], sources: Path, arguments: list[str]) -> None:
    say(f"the tests, on the installed package: {' '.join(arguments) or 'all'}")
    groups = PROJECT["dependency-groups"]
    if not install(python, "--group", f"{ROOT / 'pyproject.toml'}:test", env=environment):
        sys.exit("what the tests need does not install")
    for package in (package for group in OPTIONAL for package in groups[group]):
        if not install(python, package, env=environment):
            print(f"no wheel of {package} for this Python: its tests are skipped, or run on what stands in for it")
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        environment = {"KHRONOS_SHARED": str(shared)} | environment
    # Programs of the examples import what lies beside them; of the package, nothing lies here.
    environment = {name: value for name, value in environment.items() if name != "PYTHONSAFEPATH"}
    named = [argument for argument in arguments if (sources / argument.partition("::")[0]).exists()]
    command = [str(python), "-m", "pytest", *(argument for argument in arguments if argument not in named)]
    outcomes = {
        " ".join(part): subprocess.run([*command, *part], env=environment, cwd=sources).returncode
        for part in ([[path] for path in named] or parts(sources))
    }
    failed = [f"{part} ended with {code}" for part, code in outcomes.items() if code not in (PASSED, NOTHING_SELECTED)]
    if failed or PASSED not in outcomes.values():
        sys.exit(f"tests failed, or there were none: {', '.join(failed)}")


def parts(sources: Path) -> list[list[str]]:
    """Return what pytest is called with in turn where nothing is named: a folder of tests each.

    Without the GIL a collection looks at all objects of a process, frozen ones too, and 15,000 tests are many: in one
    process, those that ask for collections take ten times as long there.
    """
    tests = sources / "tests"
    folders = sorted({path.parent for path in tests.glob("*/test_*.py")})
    alone = sorted(tests.glob("test_*.py"))
    return [[str(path.relative_to(sources)) for path in part] for part in (*([each] for each in folders), alone)]


if __name__ == "__main__":
    main()
