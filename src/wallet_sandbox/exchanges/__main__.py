"""`python -m wallet_sandbox.exchanges --port 8443 --panel-port 8020 --tls FOLDER`"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from .server import serve
from .world import make_world


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wallet_sandbox.exchanges", description="Eight simulated exchanges."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443, help="the venues, over TLS")
    parser.add_argument("--panel-port", type=int, default=8020, help="the panel, over HTTP")
    parser.add_argument("--tls", type=Path, required=True, help="folder of the certificates")
    options = parser.parse_args(arguments)
    asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    await serve(
        make_world(),
        host=options.host,
        port=options.port,
        panel_port=options.panel_port,
        tls_folder=options.tls,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
