"""How long it takes to check an access token, in a process with the settings of the service."""

import json
import os
import subprocess
import sys

from bench.measure import Sample
from bench.ours.http import make_environment
from bench.server import ROOT, Server
from wallet_service.stack import make_signing_key


def run(server: Server, seconds: float) -> Sample:
    """Check one token again and again."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench.ours.token_check", str(seconds)],
        env={
            **make_environment(server),
            "WALLET_SIGNING_KEYS": make_signing_key(),
            "BENCH_POSTMASTER_PID": str(server.postmaster_pid),
            "BENCH_PROBE": os.environ["BENCH_PROBE"],
        },
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Sample(**json.loads(finished.stdout.splitlines()[-1]))
