"""Requests over HTTP: granian as `make run` starts it, the service's own settings, 8 connections."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Meter, Sample, family_cpu_seconds
from bench.server import OUT, ROOT, Server
from wallet_service.embedded import LOOPBACK, RedisServer, free_port
from wallet_service.stack import WEB_THREADS, WEB_WORKERS

DATABASE = "service"
SEED = OUT / "service.json"
WARM_UP_SECONDS = 1
START_SECONDS = 30


def setup(server: Server) -> None:
    server.create_database(DATABASE)
    run_python(server, "-m", "django", "migrate", "--verbosity", "0")
    SEED.write_text(run_python(server, "-m", "bench.ours.http_seed").splitlines()[-1])
    server.execute(DATABASE, "VACUUM ANALYZE")


def run(server: Server, seconds: float, kind: str = "transfer") -> Sample:
    """Send requests of a kind for `seconds`; "client CPU" of the sample is that of the web server."""
    with serve(server) as (web_pid, port):
        send(server, port, WARM_UP_SECONDS, kind)
        meter = Meter(
            server.url(DATABASE), server.postmaster_pid, partial(family_cpu_seconds, web_pid)
        )
        before = meter.read()
        figures = send(server, port, seconds, kind)
        return replace(meter.sample(before, figures["ops"], []), **figures)


@contextmanager
def serve(server: Server) -> Iterator[tuple[int, int]]:
    """Run the web server, and Redis, for the time of the block; yield its process id and its port."""
    with TemporaryDirectory() as folder, RedisServer(Path(folder) / "redis", free_port()) as redis:
        yield from serve_with(server, redis.url())


def serve_with(server: Server, redis_url: str) -> Iterator[tuple[int, int]]:
    port = free_port()
    options = ["--interface", "wsgi", "--host", LOOPBACK, "--port", str(port), "--no-ws"]
    options += ["--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS)]
    with (OUT / "granian.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "granian", *options, "wallet_service.wsgi:application"],
            env={**make_environment(server), "REDIS_URL": redis_url},
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_healthy(process, port)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError(f"The web server does not answer; see {OUT / 'granian.log'}")


def send(server: Server, port: int, seconds: float, kind: str) -> dict[str, float]:
    arguments = ["-m", "bench.ours.http_client", str(port), str(seconds), kind]
    return json.loads(run_python(server, *arguments, given=SEED.read_text()))


def run_python(server: Server, *arguments: str, given: str = "") -> str:
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=make_environment(server),
        cwd=ROOT,
        check=True,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
    )
    return finished.stdout


def make_environment(server: Server) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
        "DATABASE_URL": server.url(DATABASE),
        "LOG_LEVEL": "WARNING",
        "WALLET_URLCONF": "bench.ours.bare_urls",
        # Counted, but never refused.
        "API_REQUESTS_PER_MINUTE": "6000000",
    }
