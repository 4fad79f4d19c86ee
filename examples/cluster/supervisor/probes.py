"""Whether a port is free, and whether somebody answers at it."""

import errno
import http.client
import socket

from supervisor.errors import SetupError

LOCAL = "127.0.0.1"
PATIENCE = 1.0


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, host: str, option: str) -> None:
    """Raise SetupError where nobody can listen at a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reasons = {errno.EACCES: "is for root only", errno.EADDRINUSE: "is in use"}
            reason = reasons.get(error.errno or 0, f"can't be had ({error.strerror})")
            raise SetupError(f"port {port} {reason}; choose another one with {option}") from None


def answers_http(port: int) -> bool:
    """Whether /health is answered there."""
    connection = http.client.HTTPConnection(LOCAL, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def answers_redis(port: int) -> bool:
    """Whether a PING is answered there."""
    try:
        with socket.create_connection((LOCAL, port), PATIENCE) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith(b"+PONG")
    except OSError:
        return False
