"""Files that a run writes: checked before it begins, because a run takes minutes."""

from pathlib import Path

PLOT_SUFFIXES = (".svg", ".html")


class OutputError(Exception):
    """A file can't be written; the message says why and is meant for the user."""


def check_writable(path: Path) -> None:
    """Open the file for writing without changing it; one that was not there before is removed again."""
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror or error})") from None


def check_plot(path: Path) -> None:
    """The suffix decides the format, so it has to be one of the two."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise OutputError(f"{path}: a plot is written as {' or '.join(PLOT_SUFFIXES)}; give the file such a suffix")
    check_writable(path)


def write(path: Path, text: str) -> None:
    """Write it, newlines as they are."""
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror or error})") from None
