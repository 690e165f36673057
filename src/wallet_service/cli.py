"""The `wallet` command. It parses and prints; what it does lives elsewhere."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wallet_service import stack
from wallet_service.embedded import ServerFailed
from wallet_service.processes import FolderBusy
from wallet_service.supervisor import StartFailed, StopRequested, Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def up(options: argparse.Namespace) -> int:
    """Run the whole service until a signal; return 1 if it cannot be started."""
    started = time.monotonic()
    try:
        supervisor = Supervisor(options.data, say)
    except FolderBusy:
        return _refuse(
            f"another `wallet up` is running on {options.data.absolute()}; stop it or choose another --data"
        )
    except OSError as error:
        return _refuse(f"the data folder cannot be used: {error}")
    try:
        supervisor.start()
        plan = _plan(options, supervisor)
        demo = stack.start(supervisor, plan)
        say(_welcome(plan, demo, time.monotonic() - started))
        supervisor.until(lambda: False)
    except StopRequested:
        say("stopping")
        return 0
    except (FolderBusy, ServerFailed, StartFailed, stack.PortBusy, OSError) as error:
        return _refuse(str(error))
    finally:
        supervisor.stop()
    return 0


def say(text: str) -> None:
    """Show lines to the user at once; a reader that went away stops nothing."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _refuse(reason: str) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"wallet: {reason}\n")
    return 1


def _plan(options: argparse.Namespace, supervisor: Supervisor) -> stack.Plan:
    wanted = {name: getattr(options, f"{name}_port") for name in stack.DEFAULT_PORTS}
    return stack.Plan(
        host=options.host,
        ports=stack.choose_ports(supervisor.data, options.host, wanted, say),
        database_url=os.environ.get("DATABASE_URL"),
        redis_url=os.environ.get("REDIS_URL"),
        broker_url=os.environ.get("BROKER_URL"),
        bank_url=os.environ.get("BANK_URL"),
        custody_xpubs=os.environ.get("CUSTODY_XPUBS"),
    )


def _welcome(plan: stack.Plan, demo: Mapping[str, Any], seconds: float) -> str:
    logins = [f"{user['username']} / {user['password']}" for user in demo.get("users", [])]
    facts = [
        ("API", f"{plan.url}/"),
        ("Documentation", f"{plan.url}/api/docs/"),
        ("Admin", f"{plan.url}/admin/"),
        ("Sandbox bank", None if plan.bank_url else f"http://127.0.0.1:{plan.ports['bank']}/"),
        ("Exchanges", f"http://127.0.0.1:{plan.ports['panel']}/ (sandbox, faults)"),
        *(("Demo login", login) for login in logins),
        ("API key", demo.get("api_key")),
        ("Faucet", demo.get("faucet")),
    ]
    lines = [f"{name:<15}{value}" for name, value in facts if value]
    if demo.get("curl"):
        lines += ["", "Try:", *(f"  {line}" for line in demo["curl"])]
    if demo.get("error"):
        lines += ["", f"There is no demo data: {demo['error']}"]
    return "\n".join(
        ["", f"Ready in {seconds:.1f} seconds. Ctrl-C stops everything.", "", *lines, ""]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wallet", description="Run dj-wallets as a service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up_parser = commands.add_parser(
        "up",
        help="run everything on this machine",
        description="Run PostgreSQL, Redis, sandboxes of a bank, a chain and exchanges, web, worker, beat and custody until "
        "Ctrl-C. DATABASE_URL, REDIS_URL, BROKER_URL and BANK_URL name servers to use instead of starting one; with "
        "CUSTODY_XPUBS custody serves your chains.",
    )
    up_parser.set_defaults(command=up)
    _add_option(up_parser, "--data", Path, ".wallet", "folder that everything is kept in")
    _add_option(up_parser, "--host", str, "127.0.0.1", "address the web server listens on")
    for name, default in stack.DEFAULT_PORTS.items():
        option = "--port" if name == "web" else f"--{name}-port"
        _add_option(
            up_parser,
            option,
            _port,
            None,
            f"default {default}, or the next free one",
            dest=f"{name}_port",
        )
    return parser


def _add_option(
    parser: argparse.ArgumentParser,
    option: str,
    kind: Callable[[str], Any],
    default: str | None,
    help_text: str,
    dest: str | None = None,
) -> None:
    """Add an option whose default can be set by WALLET_..."""
    variable = f"WALLET_{option.removeprefix('--').replace('-', '_').upper()}"
    value = os.environ.get(variable) or default
    described = (
        f"{help_text} ({variable})"
        if default is None
        else f"{help_text} ({variable}; default {default})"
    )
    dest = dest or option.removeprefix("--")
    parser.add_argument(
        option, type=kind, default=value, help=described, metavar="VALUE", dest=dest
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
