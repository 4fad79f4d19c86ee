"""Real requests to replay: the user's own log, a published one where it lies nearby, or one that every machine has."""

import gzip
import os
import re
import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from khronos_fast.bench.keys import distinct_count, hashed

SHARED_VARIABLE = "KHRONOS_SHARED"
PUBLISHED = Path("traces") / "cache2k_web12.keys.gz"
PUBLISHED_ORIGIN = "cache2k web12: product pages of a shop, December 2013"
STANDARD_LIBRARY = "identifiers of the standard library's source, in the order of its text"
IDENTIFIERS = 500_000
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


class LogError(Exception):
    """A request log can't be used; the message says why and is meant for the user."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Keys in the order in which they were asked for, each a `str` object of its own."""

    name: str
    keys: list[str]
    distinct: int
    total: int
    """Requests in the whole log; more than `len(keys)` where it was cut."""

    def first(self, count: int) -> "RequestLog":
        """The same log, cut after that many requests."""
        if count >= len(self.keys):
            return self
        keys = self.keys[:count]
        return RequestLog(self.name, keys, distinct_count(keys), self.total)

    def describe(self) -> str:
        """One line for the report."""
        cut = f" (the first of {self.total:,})" if self.total > len(self.keys) else ""
        return f"{self.name}: {len(self.keys):,} requests{cut}, {self.distinct:,} distinct keys"


def read_log(path: Path) -> RequestLog:
    """The keys of a file, one a line; gzip where the name ends in `.gz`.

    Only the file's name goes into the report, never its folder.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            keys = list(_keys_of(lines, path))
    except UnicodeDecodeError:
        raise LogError(f"{path}: not UTF-8 text; a request log has one key a line (gzip if it ends in .gz)") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise LogError(f"{path}: ends in .gz but is no complete gzip file ({error})") from None
    except OSError as error:
        raise LogError(f"{path}: can't be read ({error.strerror or error})") from None
    if not keys:
        raise LogError(f"{path}: holds no keys; a request log has one key a line")
    return _log(path.name, keys)


def default_log() -> RequestLog:
    """The published log if it is there, else the standard library's identifiers."""
    published = shared_folder() / PUBLISHED
    if published.is_file():
        log = read_log(published)
        return RequestLog(PUBLISHED_ORIGIN, log.keys, log.distinct, log.total)
    return standard_library_log()


def shared_folder() -> Path:
    """Where published logs lie: a folder beside the checkout, unless the environment names another."""
    given = os.environ.get(SHARED_VARIABLE)
    if given:
        return Path(given)
    checkout = Path(__file__).resolve().parents[2]
    return checkout.parent / "shared"


def standard_library_log(count: int = IDENTIFIERS) -> RequestLog:
    """Names as people wrote them: popular ones, bursts of local ones, and a long tail; free, and everywhere."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    keys = list(islice(_identifiers(sorted(folder.glob("*.py"))), count))
    if not keys:
        raise LogError("the standard library has no source files here to take a request log from; give one by --trace")
    return _log(STANDARD_LIBRARY, keys)


def _identifiers(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        yield from (match.group() for match in _IDENTIFIER.finditer(text))


def _keys_of(lines: Iterable[str], path: Path) -> Iterator[str]:
    for line in lines:
        key = line.rstrip("\r\n")
        if "\0" in key:
            raise LogError(f"{path}: binary, not text; a request log has one key a line (gzip if it ends in .gz)")
        if key:
            yield key


def _log(name: str, keys: list[str]) -> RequestLog:
    return RequestLog(name, hashed(keys), distinct_count(keys), len(keys))
