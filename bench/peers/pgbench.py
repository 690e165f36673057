"""pgbench's TPC-B: three updates, a select and an insert per transaction, from a C client."""

import os
import re
import resource
import subprocess
from dataclasses import replace

from bench.measure import Meter, Sample
from bench.server import Server, find_pgbench

DATABASE = "tpcb"
SCALE = 10


def setup(server: Server) -> None:
    server.create_database(DATABASE)
    _pgbench(server, "-i", "-q", "-s", str(SCALE))


def run(server: Server, clients: int, seconds: float) -> Sample:
    """Run TPC-B with prepared statements, in whole seconds; pgbench reports no percentiles."""
    meter = Meter(server.url(DATABASE), server.postmaster_pid, children_cpu_seconds)
    options = ["-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2))]
    _pgbench(server, *options, "-T", "1")
    before = meter.read()
    output = _pgbench(server, *options, "-T", str(max(1, round(seconds))))
    done = re.search(r"number of transactions actually processed: (\d+)", output)
    rate = re.search(r"tps = ([\d.]+)", output)
    if not done or not rate:
        raise RuntimeError(f"pgbench said something else than usual:\n{output}")
    sample = meter.sample(before, int(done[1]), [])
    return replace(sample, seconds=sample.ops / float(rate[1]))


def children_cpu_seconds() -> float:
    """Return user and system CPU of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _pgbench(server: Server, *arguments: str) -> str:
    environment = {**os.environ, **server.libpq_environment(DATABASE)}
    finished = subprocess.run(
        [find_pgbench(), *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return finished.stdout
