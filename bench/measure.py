"""What one measurement is: operations, time, CPU of both sides, WAL written, state of the disk.

Also runs under the peers' interpreter, so it imports the standard library and psycopg only.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import psycopg

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROBE_BLOCK = b"x" * 8192
PROBE_COUNT = 60
WARM_UP_SECONDS = 0.3

Step = Callable[[], int]
"""Does the work once and returns how many operations that was."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The outcome of one run. "Client" is whatever calls PostgreSQL, "server" is PostgreSQL."""

    ops: int
    seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    wal_bytes: int
    p50_ms: float
    p99_ms: float
    fsync_us: float

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.ops / self.seconds

    @property
    def client_us(self) -> float:
        """CPU microseconds of the client per operation."""
        return self.client_cpu_seconds / self.ops * 1e6

    @property
    def server_us(self) -> float:
        """CPU microseconds of all PostgreSQL processes per operation."""
        return self.server_cpu_seconds / self.ops * 1e6

    @property
    def cpu_us(self) -> float:
        return self.client_us + self.server_us

    @property
    def client_cpu_ms(self) -> float:
        return self.client_us / 1e3

    @property
    def cpu_ms(self) -> float:
        return self.cpu_us / 1e3

    @property
    def wal_per_op(self) -> float:
        """Bytes of write-ahead log per operation, full page images included."""
        return self.wal_bytes / self.ops


@dataclass(frozen=True, slots=True)
class Reading:
    """Every counter at one moment."""

    at: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    wal_position: int


class Meter:
    """Reads the counters before and after a stretch of work on one PostgreSQL server."""

    def __init__(
        self, url: str, postmaster_pid: int, client_cpu: Callable[[], float] = time.process_time
    ) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.postmaster_pid = postmaster_pid
        self.client_cpu = client_cpu

    def read(self) -> Reading:
        wal = self.connection.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
        ).fetchone()[0]
        return Reading(
            at=time.perf_counter(),
            client_cpu_seconds=self.client_cpu(),
            server_cpu_seconds=family_cpu_seconds(self.postmaster_pid),
            wal_position=wal,
        )

    def sample(self, before: Reading, ops: int, latencies: Sequence[float]) -> Sample:
        """Close the stretch that began at `before`; latencies are in seconds."""
        after = self.read()
        p50, p99 = percentiles(latencies)
        return Sample(
            ops=ops,
            seconds=after.at - before.at,
            client_cpu_seconds=after.client_cpu_seconds - before.client_cpu_seconds,
            server_cpu_seconds=after.server_cpu_seconds - before.server_cpu_seconds,
            wal_bytes=after.wal_position - before.wal_position,
            p50_ms=p50 * 1e3,
            p99_ms=p99 * 1e3,
            fsync_us=probe_fsync_us(),
        )


def family_cpu_seconds(pid: int) -> float:
    """Return user and system CPU of a process, its reaped children and its living children."""
    while True:
        own = _stat(pid)
        ticks = sum(int(field) for field in own[11:15])
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat(int(entry))
                if fields and int(fields[1]) == pid:
                    ticks += sum(int(field) for field in fields[11:15])
        # A child reaped meanwhile would be missing, or counted twice.
        if _stat(pid)[13:15] == own[13:15]:
            return ticks / TICKS_PER_SECOND


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the command name: state, parent, ..."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile, zeros for nothing."""
    if not values:
        return 0.0, 0.0
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def probe_fsync_us() -> float:
    """Return the median microseconds of 60 fdatasyncs of 8 kB on the disk of the database.

    Shared disks are throttled after bursts; a figure taken then says little about the software.
    """
    durations = []
    descriptor = os.open(os.environ["BENCH_PROBE"], os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, PROBE_BLOCK * 16, 0)
        os.fsync(descriptor)
        for number in range(PROBE_COUNT):
            begin = time.perf_counter()
            os.pwrite(descriptor, PROBE_BLOCK, number % 16 * len(PROBE_BLOCK))
            os.fdatasync(descriptor)
            durations.append(time.perf_counter() - begin)
    finally:
        os.close(descriptor)
    return statistics.median(durations) * 1e6


def run_steps(meter: Meter, steps: Sequence[Step], seconds: float) -> Sample:
    """Run every step in a thread of its own for `seconds`, after a short warm-up of that thread.

    A single step runs in the calling thread.
    """
    with ThreadPoolExecutor(len(steps)) as pool:
        spread = pool.map if len(steps) > 1 else map
        list(spread(repeat_step, steps, repeat(WARM_UP_SECONDS)))
        before = meter.read()
        outcomes = list(spread(repeat_step, steps, repeat(seconds)))
        ops = sum(ops for ops, _ in outcomes)
        latencies = [latency for _, latencies in outcomes for latency in latencies]
        return meter.sample(before, ops, latencies)


def repeat_step(step: Step, seconds: float) -> tuple[int, list[float]]:
    """Call the step until the time is up; return operations and seconds of each call."""
    clock = time.perf_counter
    end = clock() + seconds
    ops, latencies = 0, []
    while (begin := clock()) < end:
        ops += step()
        latencies.append(clock() - begin)
    return ops, latencies
