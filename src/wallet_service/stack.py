"""What `wallet up` runs: PostgreSQL, Redis, the sandboxes of bank, chain and exchanges, web, worker, beat and the programs
of custody, and the addresses between them."""

import http.client
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wallet_service.embedded import (
    LOOPBACK,
    PostgresServer,
    RedisServer,
    keep_secret,
    make_folder,
    package_folder,
    tail,
)
from wallet_service.processes import RUN_VARIABLE
from wallet_service.supervisor import StartFailed, Supervisor

DEFAULT_PORTS = MappingProxyType({
    "web": 8000, "postgres": 54320, "redis": 63790, "bank": 8010, "node": 8020, "exchanges": 8443, "panel": 8030,
})  # fmt: skip
PORTS_TO_TRY = 200
SANDBOX_NETWORK = "DOGE:regtest"
BLOCK_SECONDS = 5
DATABASE = "wallet"
WEB_WORKERS = 2
WEB_THREADS = 8
TASK_PROCESSES = 2
# Packages with files for browsers, and the folder below /static that each has for itself.
STATIC_PACKAGES = (
    ("drf_spectacular_sidecar", "drf_spectacular_sidecar"),
    ("django.contrib.admin", "admin"),
    ("unfold", "unfold"),
    ("allauth.account", "account"),
    ("allauth.mfa", "mfa"),
    ("wallet_service", "wallet_service"),
)

# Children see these variables and those `wallet up` sets, nothing else: no PGHOST, GRANIAN_PORT or cloud credential of
# the user's shell changes what they do. A test compares the list with what settings.py reads.
PASSED_ON = frozenset({
    "ALLOWED_HOSTS", "API_REQUESTS_PER_MINUTE", "BANK_ADAPTER", "BANK_OPTIONS", "BANK_TIMEOUT_SECONDS", "CSRF_TRUSTED_ORIGINS",
    "CUSTODY_APPROVAL_SECRET", "CUSTODY_NODE_URLS", "CUSTODY_XPUBS", "DATABASE_POOL_SIZE", "EXCHANGES_EGRESS",
    "EXCHANGES_MAX_CLIENTS", "EXCHANGES_REDIS_URL", "EXCHANGES_SANDBOX_ADDRESS", "EXCHANGES_SANDBOX_CA_FILE", "LOG_LEVEL",
    "PAYOUT_BACKOFF_MAX_SECONDS", "PAYOUT_BACKOFF_SECONDS", "PAYOUT_BANKS", "PAYOUT_BATCH_SIZE",
    "PAYOUT_CIRCUIT_FAILURES", "PAYOUT_CIRCUIT_SECONDS", "PAYOUT_LEASE_SLACK_SECONDS",
    "PAYOUT_MAX_LAPSES", "PAYOUT_MAX_RETRIES", "PAYOUT_REVIEW_AFTER_SECONDS",
    "PAYOUT_SWEEP_SECONDS", "SECRET_KEY_FALLBACKS",
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ",
})  # fmt: skip
PASSED_ON_PREFIX = "WALLET_"


class PortBusy(Exception):
    """Somebody else listens on a port the user asked for."""


@dataclass(frozen=True)
class Plan:
    """Where things run. A server whose address is given is somebody else's: it is used, not started."""

    host: str
    ports: Mapping[str, int]
    database_url: str | None = None
    redis_url: str | None = None
    broker_url: str | None = None
    bank_url: str | None = None
    custody_xpubs: str | None = None

    @property
    def reachable_host(self) -> str:
        """An address of the web server that this machine can connect to, also when it listens on all."""
        return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104

    @property
    def url(self) -> str:
        host = f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host
        return f"http://{host}:{self.ports['web']}"


def choose_ports(
    data: Path, host: str, wanted: Mapping[str, int | None], say: Callable[[str], None]
) -> dict[str, int]:
    """Pick a port for each server: the wanted one, else the one of the last run, else the default or the next free one.

    The choice is kept in the data folder.

    :raises PortBusy: if a wanted port is taken; the others are moved out of the way
    """
    record = data / "ports.json"
    last: dict[str, int] = json.loads(record.read_text()) if record.exists() else {}
    chosen: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        address = host if name == "web" else LOOPBACK
        port = wanted.get(name)
        if port is None:
            port = _next_free(
                address,
                last.get(name, default),
                taken={*chosen.values(), *filter(None, wanted.values())},
            )
            if port != last.get(name, default):
                say(f"port {last.get(name, default)} is busy: {name} takes {port}")
        elif port in chosen.values() or not _is_free(address, port):
            raise PortBusy(
                f"port {port} ({name}) is busy: choose another, or leave the choice to us"
            )
        chosen[name] = port
    record.write_text(json.dumps(chosen))
    return chosen


def start(supervisor: Supervisor, plan: Plan) -> dict[str, Any]:
    """Bring everything up and return what `wallet_demo` reported once the service answers."""
    environment = _environment(plan, supervisor.data, _start_servers(supervisor, plan))
    environment |= _prepare_custody(supervisor, plan, environment)
    environment |= _prepare_exchanges(plan, supervisor.data)
    django = [sys.executable, "-m", "django"]
    supervisor.run_step(
        "migrate", [*django, "migrate", "--no-input", "--verbosity", "1"], environment
    )
    ready_file = Path(environment["WALLET_READY_FILE"])
    ready_file.unlink(missing_ok=True)
    for name, command in _programs(plan, supervisor.data).items():
        supervisor.add_program(name, [sys.executable, "-m", *command], environment)
    demo = _load_demo(supervisor, [*django, "wallet_demo", "--json"], environment)
    supervisor.until(lambda: ready_file.exists() and _is_serving(plan))
    supervisor.settle()
    return demo


def _start_servers(supervisor: Supervisor, plan: Plan) -> dict[str, str]:
    """Start the servers the plan does not name and return the addresses of all, as variables of settings.py."""
    mark = {RUN_VARIABLE: supervisor.run}
    addresses = {"BANK_URL": plan.bank_url or f"http://{LOOPBACK}:{plan.ports['bank']}/"}
    if not plan.bank_url:
        addresses |= _describe_sandbox_bank(addresses["BANK_URL"])
    if plan.broker_url:
        addresses["BROKER_URL"] = plan.broker_url
    if plan.redis_url:
        addresses["REDIS_URL"] = plan.redis_url
    elif not plan.broker_url:
        folder, log = supervisor.data / "redis", supervisor.log("redis")
        redis = RedisServer(folder, plan.ports["redis"], log=log, environment=mark)
        supervisor.add_server("redis", redis)
        addresses["REDIS_URL"] = redis.url()
    if plan.database_url:
        return {**addresses, "DATABASE_URL": plan.database_url}
    folder, log = supervisor.data / "postgres", supervisor.log("postgres")
    postgres = PostgresServer(folder, plan.ports["postgres"], log=log, environment=mark)
    supervisor.add_server("postgres", postgres)
    postgres.create_database(DATABASE)
    return {**addresses, "DATABASE_URL": postgres.url(DATABASE)}


def _describe_sandbox_bank(url: str) -> dict[str, str]:
    """Return how payouts speak to the sandbox bank, by seed 004's contract and as the bank "keyed" by the other."""
    keyed = {
        "ADAPTER": "dj_wallet.payouts.banks.keyed.KeyedBank",
        "URL": f"{url}v1",
        # The sandbox's own, see wallet_sandbox.bank.
        "WEBHOOK_SECRET": "whsec_c2FuZGJveC1iYW5rLXdlYmhvb2stc2VjcmV0",
    }
    described = {
        "BANK_OPTIONS": json.dumps({"LOOKUP_URL": f"{url}payments?reference={{reference}}"}),
        "PAYOUT_BANKS": json.dumps({"keyed": keyed}),
    }
    return {name: text for name, text in described.items() if name not in os.environ}


def _prepare_custody(
    supervisor: Supervisor, plan: Plan, environment: Mapping[str, str]
) -> dict[str, str]:
    """Make a key for the sandbox's chain, or find it again; return the variables of the processes that need none."""
    if plan.custody_xpubs:
        return {}
    folder = make_folder(supervisor.data / "custody", 0o700)
    account = ["--make-account", SANDBOX_NETWORK, "--directory", str(folder)]
    signer = [sys.executable, "-m", "dj_wallet.custody.signer"]
    supervisor.run_step("custody-key", [*signer, *account], environment)
    url = f"{LOOPBACK}:{plan.ports['node']}"
    return {
        "CUSTODY_APPROVAL_SECRET": keep_secret(
            folder / "approval_secret", secrets.token_urlsafe(50)
        ),
        "CUSTODY_NODE_URLS": f"{SANDBOX_NETWORK}=http://sandbox:sandbox@{url}/",
        "CUSTODY_XPUBS": f"{SANDBOX_NETWORK}={(folder / 'account.xpub').read_text()}",
        "WALLET_FAUCET_URL": f"http://{url}",
    }


def _prepare_exchanges(plan: Plan, data: Path) -> dict[str, str]:
    """Return the secrets of exchange accounts, made once and kept unless the user has some, and where to count."""
    folder = make_folder(data / "exchanges", 0o700)
    metrics = make_folder(data / "metrics", 0o700)
    for file in metrics.glob("*.db"):  # of processes that are gone
        file.unlink()
    made = {
        "WALLET_EXCHANGE_KEYS": f"first:{secrets.token_urlsafe(32)}",
        "WALLET_EXCHANGE_SECRET": secrets.token_urlsafe(32),
    }
    kept = {
        name: os.environ.get(name) or keep_secret(folder / name.lower(), value)
        for name, value in made.items()
    }
    return {
        **kept,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "WALLET_EXCHANGE_PANEL_URL": f"http://{LOOPBACK}:{plan.ports['panel']}",
    }


def _environment(plan: Plan, data: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    passed_on = {
        k: v for k, v in os.environ.items() if k in PASSED_ON or k.startswith(PASSED_ON_PREFIX)
    }
    secret_key = os.environ.get("SECRET_KEY") or keep_secret(
        data / "secret_key", secrets.token_urlsafe(50)
    )
    signing_key = data / "signing_key.pem"
    if not signing_key.exists():
        keep_secret(signing_key, make_signing_key())
    return {
        "WALLET_SIGNING_KEYS_FILE": str(signing_key),
        **_sandbox_exchanges(plan, data),
        **passed_on,
        **addresses,
        "DJANGO_SETTINGS_MODULE": os.environ.get(
            "DJANGO_SETTINGS_MODULE", "wallet_service.settings"
        ),
        "PYTHONUNBUFFERED": "1",
        "SECRET_KEY": secret_key,
        "WALLET_DATA": str(data),
        "WALLET_DEMO_FILE": str(data / "demo.json"),
        "WALLET_READY_FILE": str(data / "worker.ready"),
        "WALLET_URL": plan.url,
    }


def make_signing_key() -> str:
    """Return a new key for signing tokens, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def _sandbox_exchanges(plan: Plan, data: Path) -> dict[str, str]:
    """Return where sandbox accounts are connected to, unless the user names another place."""
    return {
        "EXCHANGES_SANDBOX_ADDRESS": f"{LOOPBACK}:{plan.ports['exchanges']}",
        "EXCHANGES_SANDBOX_CA_FILE": str(data / "exchanges" / "ca.pem"),
    }


def _programs(plan: Plan, data: Path) -> dict[str, list[str]]:
    """Return the modules to run, with their arguments."""
    celery = ["celery", "--app", "wallet_service"]
    worker = ["worker", "--loglevel", "info", "--concurrency", str(TASK_PROCESSES)]
    schedule = make_folder(data / "beat", 0o700) / "schedule"
    programs = {
        "web": ["granian", *_web_arguments(plan)],
        "worker": [*celery, *worker, "--without-gossip", "--without-mingle"],
        "beat": [*celery, "beat", "--loglevel", "info", "--schedule", str(schedule)],
    }
    if not plan.bank_url:
        bank = ["--port", str(plan.ports["bank"]), "--state", str(data / "bank.jsonl")]
        programs["bank"] = ["wallet_sandbox.bank", *bank]
    ports = [
        "--port", str(plan.ports["exchanges"]), "--panel-port", str(plan.ports["panel"]),
    ]  # fmt: skip
    programs["exchanges"] = [
        "wallet_sandbox.exchanges", *ports, "--tls", str(data / "exchanges"),
    ]  # fmt: skip
    return programs | _custody_programs(plan, data)


def _custody_programs(plan: Plan, data: Path) -> dict[str, list[str]]:
    """Return the sandbox's node, and what reads the chain, signs and sends. With keys of your own the signer and its
    node run where you say."""
    programs = {"scanner": ["django", "custody_scan"], "sender": ["django", "custody_send"]}
    if plan.custody_xpubs:
        return programs
    serve = ["serve", "--port", str(plan.ports["node"]), "--block-seconds", str(BLOCK_SECONDS)]
    return {
        "node": ["wallet_sandbox.node", *serve, "--state", str(data / "chain.jsonl")],
        "signer": ["dj_wallet.custody.signer", "--config", str(data / "custody" / "signer.json")],
        **programs,
    }


def _web_arguments(plan: Plan) -> list[str]:
    options = {
        "interface": "wsgi",
        "host": plan.host,
        "port": plan.ports["web"],
        "workers": WEB_WORKERS,
        "blocking-threads": WEB_THREADS,
        "workers-kill-timeout": 5,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    # Django serves no static files outside of DEBUG; the admin and the pages of the API documentation need theirs.
    for package, name in STATIC_PACKAGES:
        if find_spec(package) is None:
            continue
        mount = package_folder(package) / "static" / name
        arguments += ["--static-path-route", f"/static/{name}", "--static-path-mount", str(mount)]
    return [*arguments, "--no-ws", "--respawn-failed-workers", "wallet_service.wsgi:application"]


def _load_demo(
    supervisor: Supervisor, command: list[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Create the demo data, or find it again; without it the service is whole all the same."""
    with tempfile.TemporaryFile() as output:
        try:
            supervisor.run_step("demo", command, environment, output)
            output.seek(0)
            report = json.loads(output.read())
        except (StartFailed, ValueError) as error:
            return {"error": str(error) or tail(supervisor.log("demo"))}
    return report if isinstance(report, dict) else {"error": "wallet_demo printed no JSON object"}


def _is_serving(plan: Plan) -> bool:
    """Tell whether the programs that have an address answer there."""
    bank = plan.bank_url or _answers(LOOPBACK, plan.ports["bank"])
    node = plan.custody_xpubs or _answers(LOOPBACK, plan.ports["node"])
    exchanges = _answers(LOOPBACK, plan.ports["panel"])
    web = _answers(plan.reachable_host, plan.ports["web"])
    return bool(bank) and bool(node) and exchanges and web


def _answers(host: str, port: int) -> bool:
    """Ask a server for its health. An answer that it is not healthy is not enough."""
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _next_free(host: str, first: int, taken: set[int]) -> int:
    for port in range(first, first + PORTS_TO_TRY):
        if port not in taken and _is_free(host, port):
            return port
    raise PortBusy(f"no port from {first} to {first + PORTS_TO_TRY - 1} is free")


def _is_free(host: str, port: int) -> bool:
    """Try to bind: with the reuse of finished connections, without sharing a port that is listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True
