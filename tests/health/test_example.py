"""examples/health.py, as somebody runs it: served, asked with and without its password, and ended by Ctrl-C."""

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tiers.servers import when

EXAMPLE = Path(__file__).parents[2] / "examples" / "health.py"


def ask(url, password=None, **headers):
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
@pytest.mark.parametrize("options", [[], ["--password", "correct horse"]])
def test_it_serves_until_ctrl_c(options):
    command = [sys.executable, str(EXAMPLE), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            url, password = re.fullmatch(
                r"(http://127\.0\.0\.1:\d+)/dashboard \(user operator, password (.+)\)\n", line
            ).groups()
            assert password == options[-1] if options else len(password) > 10
            assert set(json.loads(ask(f"{url}/health"))) == {"status", "pid", "worker"}
            with pytest.raises(urllib.error.HTTPError, match="401"):
                ask(f"{url}/dashboard", "wrong")
            assert "<html" in ask(f"{url}/dashboard", password, Accept="text/html").lower()

            def looks_used():
                services = json.loads(ask(f"{url}/dashboard/services", password))
                caches, pool = services["caches"], services["databases"]["database"]
                return set(caches) == {"prices", "pages", "discount"} and pool["acquired"] and services

            when(looks_used)
        finally:
            process.send_signal(signal.SIGINT)
            told, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert told.endswith("ending\n")


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, EXAMPLE, "--port", str(port)], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"port {port}: ")
    assert "--port" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_a_port_that_is_none_is_refused(port):
    done = subprocess.run([sys.executable, EXAMPLE, f"--port={port}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "error: argument --port: " in done.stderr
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_help():
    done = subprocess.run([sys.executable, EXAMPLE, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--port" in done.stdout
    assert "--password" in done.stdout
