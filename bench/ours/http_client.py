"""The load on the service: threads that each send requests over one connection that stays open.

`python -m bench.ours.http_client <port> <seconds> transfer|get|list|bare|bare list|bare transfer`, the seed as JSON on standard input. The plainest client there is
(http.client), since it shares the cores with what it measures. Prints operations, seconds and percentiles.
"""

import http.client
import json
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any
from uuid import uuid4

from bench.measure import Step, percentiles, repeat_step
from bench.worker import pick_two

CONNECTIONS = 8
TRANSFERS = {"transfer": "/api/v1/transfers", "bare transfer": "/bare-transfer"}


def make_transfer(port: int, path: str, key: str, wallets: Sequence[str]) -> Step:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def transfer() -> int:
        source, destination = pick_two(wallets)
        body = json.dumps({"from": source, "to": destination, "amount": "1.25"}).encode()
        connection.request("POST", path, body, {**headers, "Idempotency-Key": str(uuid4())})
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.CREATED:
            raise RuntimeError(f"{path} answered {response.status}: {answer.decode()}")
        return 1

    return transfer


def make_read(port: int, key: str, paths: Sequence[str]) -> Step:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {key}"}

    def read() -> int:
        path = random.choice(paths)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"{path} answered {response.status}: {answer.decode()}")
        return 1

    return read


def make_step(port: int, kind: str, seed: dict[str, Any]) -> Step:
    if kind in TRANSFERS:
        return make_transfer(port, TRANSFERS[kind], seed["key"], seed["wallets"])
    paths = {
        "get": [f"/wallets/{uuid}" for uuid in seed["readers_wallets"]],
        "list": ["/wallets/"],
        "bare": ["/bare"],
        "bare list": ["/bare-list"],
    }
    return make_read(port, seed["readers_key"], paths[kind])


def main(port: str, seconds: str, kind: str) -> None:
    seed = json.load(sys.stdin)
    steps = [make_step(int(port), kind, seed) for _ in range(CONNECTIONS)]
    begin = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        outcomes = list(pool.map(repeat_step, steps, repeat(float(seconds))))
    elapsed = time.perf_counter() - begin
    p50, p99 = percentiles([latency for _, latencies in outcomes for latency in latencies])
    figures = {
        "ops": sum(ops for ops, _ in outcomes),
        "seconds": elapsed,
        "p50_ms": p50 * 1e3,
        "p99_ms": p99 * 1e3,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
