"""The folder of a running cluster: what nginx reads, the certificate, the password, the logs, the database."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from supervisor import programs

USER = "metrics"
CERTIFICATE_DAYS = 825  # the most that browsers take


class Folder:
    """All paths of a cluster."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not self.path.exists():
            self.path.mkdir(parents=True)
            self.path.chmod(0o700)  # there will be a private key in it
        for name in ("logs", "temp", "ssl"):
            (self.path / name).mkdir(exist_ok=True)
        self.password_file = self.path / "htpasswd"
        self.certificate, self.key = self.path / "ssl" / "cert.pem", self.path / "ssl" / "key.pem"

    @property
    def database_url(self) -> str:
        """The URL of the SQLite file."""
        return f"sqlite:///{quote(self.path.as_posix())}/state.db"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.path / "logs" / f"{name.replace(' ', '-')}.log"

    def configure_nginx(self, template: Path, http_port: int, https_port: int, worker_ports: Iterable[int]) -> None:
        """Put nginx.conf here, and beside it what is different from machine to machine."""
        shutil.copyfile(template, self.path / "nginx.conf")
        (self.path / "listen.conf").write_text(f"listen {http_port};\nlisten {https_port} ssl;\n", "utf-8")
        servers = [
            f"server 127.0.0.1:{port} max_fails=3 fail_timeout=1s;\nserver 127.0.0.1:{port} max_fails=0 backup;\n"
            for port in worker_ports
        ]
        (self.path / "workers.conf").write_text("".join(servers), "utf-8")

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
        """Write the password of /metrics: METRICS_PASSWORD, or at the first start a new one, which is returned."""
        given = os.environ.get("METRICS_PASSWORD") or None
        if given is None and self.password_file.exists():
            return None
        password = given or secrets.token_urlsafe(12)
        # By its input, as everybody sees the arguments of a process.
        command = [programs.openssl(), "passwd", "-apr1", "-stdin"]
        done = subprocess.run(command, input=password, check=True, capture_output=True, text=True)
        self.password_file.write_text(f"{USER}:{done.stdout.strip()}\n", "utf-8")
        return None if given else password
