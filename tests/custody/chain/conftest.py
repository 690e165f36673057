"""Nodes on real sockets, without a database."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from werkzeug.serving import make_server

from dj_wallet.custody.chain.node import Node
from tests.custody.litecoin import shared_litecoin  # noqa: F401  (a fixture)
from wallet_sandbox.bank import QuietHandler
from wallet_sandbox.chain import NETWORK, Chain
from wallet_sandbox.node import PASSWORD, USER, create_app


class SandboxNode:
    """The sandbox node: its chain, its address, and its tools."""

    def __init__(self, chain: Chain, port: int) -> None:
        self.chain = chain
        self.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/"
        self.tools = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    def connect(self, **options: float) -> Node:
        return Node(self.url, network=NETWORK, **options)

    def break_down(self, mode: str, *, method: str = "", count: int = 1) -> None:
        body = {"mode": mode, "method": method, "count": count}
        assert self.tools.post("/faults", json=body).status_code == 200


@pytest.fixture
def sandbox_node() -> Iterator[SandboxNode]:
    """A sandbox node that mines only when told."""
    chain = Chain()
    server = make_server(
        "127.0.0.1", 0, create_app(chain), threaded=True, request_handler=QuietHandler
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    node = SandboxNode(chain, server.port)
    yield node
    node.tools.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def node(sandbox_node: SandboxNode) -> Iterator[Node]:
    """Our client of the sandbox node."""
    with sandbox_node.connect() as node:
        yield node
