"""The folder of a running cluster: what nginx reads, the certificate, the password, the logs, the database."""

import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from supervisor import programs

USER = "metrics"
PRIVATE = 0o600
CERTIFICATE_DAYS = 825  # the most that browsers take


class Folder:
    """All paths of a cluster."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True)
        if self._is_ours_alone():
            self.path.chmod(0o700)  # there will be a private key in it
        for name in ("logs", "temp", "ssl"):
            (self.path / name).mkdir(exist_ok=True)
        self.password_file = self.path / "htpasswd"
        self.token_file = self.path / "token"
        for old in (self.password_file, self.token_file):
            if old.exists():
                old.chmod(PRIVATE)  # as an earlier version may have written it for all to read
        self.certificate, self.key = self.path / "ssl" / "cert.pem", self.path / "ssl" / "key.pem"

    def _is_ours_alone(self) -> bool:
        """Whether it is empty and this user's. Of one with other things in it, or of /tmp, others may have need."""
        found = self.path.stat()
        return found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX and not any(self.path.iterdir())

    def is_open_to_others(self) -> bool:
        """Whether other users of this machine may look into it."""
        return bool(self.path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))

    @property
    def database_url(self) -> str:
        """The URL of the SQLite file."""
        return f"sqlite:///{quote(self.path.as_posix())}/state.db"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.path / "logs" / f"{name.replace(' ', '-')}.log"

    def configure_nginx(self, template: Path, http_port: int, https_port: int, worker_ports: Sequence[int]) -> None:
        """Put nginx.conf here, and beside it what is different from machine to machine."""
        shutil.copyfile(template, self.path / "nginx.conf")
        (self.path / "listen.conf").write_text(f"listen {http_port};\nlisten {https_port} ssl;\n", "utf-8")
        servers = [
            f"server 127.0.0.1:{port} max_fails=3 fail_timeout=1s;\nserver 127.0.0.1:{port} max_fails=0 backup;\n"
            for port in worker_ports
        ]
        (self.path / "workers.conf").write_text("".join(servers), "utf-8")
        addresses = [f"{number} 127.0.0.1:{port};\n" for number, port in enumerate(worker_ports, 1)]
        (self.path / "addresses.conf").write_text("".join(addresses), "utf-8")
        write_private(self.path / "token.conf", f'proxy_set_header Authorization "Bearer {self.token()}";\n')

    def token(self) -> str:
        """Return what the workers want to see before they tell more than their status; made at the first start."""
        if not self.token_file.exists():
            write_private(self.token_file, secrets.token_urlsafe(32))
        return self.token_file.read_text("utf-8").strip()

    def make_certificate(self) -> bool:
        """Sign a certificate for this machine, if there is none in ssl/; whether it was made."""
        if self.certificate.exists() and self.key.exists():
            return False
        command = [programs.openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"]
        command += ["-days", str(CERTIFICATE_DAYS), "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"]
        command += ["-keyout", str(self.key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True, umask=0o077)
        return True

    def make_password(self) -> str | None:
        """Write the password for nginx: METRICS_PASSWORD, or at the first start a new one, which is returned."""
        given = os.environ.get("METRICS_PASSWORD") or None
        if given is None and self.password_file.exists():
            return None
        password = given or secrets.token_urlsafe(12)
        # By its input, as everybody sees the arguments of a process.
        command = [programs.openssl(), "passwd", "-apr1", "-stdin"]
        done = subprocess.run(command, input=password, check=True, capture_output=True, text=True)
        write_private(self.password_file, f"{USER}:{done.stdout.strip()}\n")
        return None if given else password


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, nor whoever has its predecessor open; it is there as a whole, or not."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
