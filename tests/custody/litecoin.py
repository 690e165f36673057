"""A real node: `litecoind -regtest`, whose P2PKH addresses and signatures are those of Dogecoin's regtest.

The node is spoken to by our own client. `rpc` is for what only a test may do: mine, invalidate, stop. A conftest imports
the fixtures.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from coincurve import PrivateKey

from dj_wallet.custody.chain.addresses import get_script, p2pkh_address
from dj_wallet.custody.chain.errors import NodeError
from dj_wallet.custody.chain.hashes import hash160
from dj_wallet.custody.chain.keys import ChildKey
from dj_wallet.custody.chain.networks import BASE_UNITS, Network, get_network
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.transactions import Outpoint, Output, build_unsigned, sign
from wallet_service.embedded import free_port

# /usr/bin/litecoind is a script that writes into the home directory.
BINARY = Path(os.environ.get("LITECOIND", "/usr/lib/litecoin/litecoind"))
IS_INSTALLED = BINARY.exists()
WHY_SKIPPED = "litecoind is not installed (apt-get install litecoind)"

LITECOIN = get_network("LTC:regtest")
DOGECOIN_ON_LITECOIN = replace(get_network("DOGE:regtest"), genesis=LITECOIN.genesis)
"""Dogecoin's regtest, on a node of Litecoin: only the genesis block differs in what we check."""

FIRST_BLOCKS = 130
COINBASE = 50 * BASE_UNITS


class LitecoinNode:
    """A node of its own chain in a directory, with coins of the outside world to pay from."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        self.outside = ChildKey(PrivateKey(sha256(b"the outside world").digest()))
        self.outside_address = p2pkh_address(hash160(self.outside.public_key), LITECOIN)
        self._client = _open_client()
        self._coins: list[Outpoint] = []
        self._miners = 0

    def start(self) -> None:
        """Start the node and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://u:p@127.0.0.1:{self.port}/"
        self._process = subprocess.Popen(
            [
                str(BINARY),
                "-regtest",
                "-server",
                f"-datadir={self.directory}",
                "-disablewallet",
                "-rpcuser=u",
                "-rpcpassword=p",
                "-rpcbind=127.0.0.1",
                "-rpcallowip=127.0.0.1",
                f"-rpcport={self.port}",
                *("-listen=0", "-listenonion=0", "-dnsseed=0", "-discover=0", "-connect=0"),
                *("-upnp=0", "-dbcache=4", "-maxmempool=5", "-par=1", "-rpcthreads=4"),
                # Dogecoin replaces by default; regtest would die at height 431 with MWEB.
                *("-printtoconsole=0", "-mempoolreplacement=1", "-vbparams=mweb:-2:0"),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 300
        while True:
            assert self._process.poll() is None, "litecoind has ended"
            with contextlib.suppress(httpx.TransportError, NodeError, AssertionError):
                self.rpc("getblockcount")
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        """Let the node write everything and end. It waits half a minute for connections that are kept open: close yours."""
        self._client.close()
        self._client = _open_client()
        self._process.terminate()
        self._process.wait(300)

    def kill(self) -> None:
        """Kill the node: what it has not written is gone."""
        self._process.kill()
        self._process.wait(300)

    def close(self) -> None:
        """End for good."""
        if self._process.poll() is None:
            self.kill()
        self._client.close()

    def rpc(self, method: str, *parameters: object) -> Any:
        """Call anything, as only a test may."""
        body = {"jsonrpc": "1.0", "id": 0, "method": method, "params": parameters}
        answer = self._client.post(f"http://127.0.0.1:{self.port}/", json=body).json()
        assert answer["error"] is None, answer["error"]
        return answer["result"]

    def connect(self, network: Network = LITECOIN) -> Node:
        """Return our own client of this node."""
        return Node(self.url, network=network)

    def mine(self, count: int = 1) -> list[str]:
        """Mine blocks with everything that waits.

        To another address each time: the node knows a block again that it was told to call invalid.
        """
        self._miners += 1
        script_hash = hash160(b"miner %d" % self._miners)
        return self.rpc("generatetoaddress", count, p2pkh_address(script_hash, LITECOIN))

    def mine_first_coins(self) -> None:
        """Mine the coins that the outside world pays with."""
        blocks = self.rpc("generatetoaddress", FIRST_BLOCKS, self.outside_address)
        mature = blocks[: FIRST_BLOCKS - LITECOIN.coinbase_maturity]
        with self.connect() as node:
            read = node.call_many([("getblock", (block, 2)) for block in mature])
        self._coins = [Outpoint(block["tx"][0]["txid"], 0) for block in read]

    def pay(self, payments: Iterable[tuple[str, int]], *, fee: int = 20_000) -> str:
        """Pay addresses from outside, each in an output of its own, and return the id; it waits for a block."""
        return self.send(self.make_payment(self._coins.pop(0), payments, fee=fee))

    def make_payment(
        self, coin: Outpoint, payments: Iterable[tuple[str, int]], *, fee: int = 20_000
    ) -> bytes:
        """Return the signed transaction that pays from a whole coin of the outside world. It can be replaced."""
        outputs = [Output(amount, get_script(address, LITECOIN)) for address, amount in payments]
        rest = COINBASE - fee - sum(output.amount for output in outputs)
        outputs.append(Output(rest, get_script(self.outside_address, LITECOIN)))
        return sign(build_unsigned([coin], outputs, replaceable=True), [self.outside]).serialize()

    def take_coin(self) -> Outpoint:
        """Return a coin of 50 that nobody else will spend."""
        return self._coins.pop(0)

    def send(self, raw: bytes) -> str:
        return self.rpc("sendrawtransaction", raw.hex())

    def reorganize(self, depth: int) -> None:
        """Take the last blocks back. Their transactions wait again; mine more blocks than were taken."""
        tip = self.rpc("getblockcount")
        self.rpc("invalidateblock", self.rpc("getblockhash", tip - depth + 1))

    def copy_to(self, directory: Path) -> None:
        """Copy what the node has written, to start another one from."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)

    def get_unspent_amount(self, outpoint: Outpoint) -> int | None:
        found = self.rpc("gettxout", outpoint.txid, outpoint.vout, True)
        return None if found is None else int(Decimal(str(found["value"])) * BASE_UNITS)


def _open_client() -> httpx.Client:
    return httpx.Client(auth=("u", "p"), timeout=60, trust_env=False)


@pytest.fixture
def litecoin(tmp_path: Path) -> Iterator[LitecoinNode]:
    """A real node whose outside world has 30 coins of 50 to pay with."""
    yield from _run(tmp_path / "litecoin")


@pytest.fixture(scope="module")
def shared_litecoin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LitecoinNode]:
    """A real node for tests that leave nothing waiting and turn no block back."""
    yield from _run(tmp_path_factory.mktemp("litecoin"))


def _run(directory: Path) -> Iterator[LitecoinNode]:
    if not IS_INSTALLED:
        pytest.skip(WHY_SKIPPED)
    node = LitecoinNode(directory)
    node.start()
    try:
        node.mine_first_coins()
        yield node
    finally:
        node.close()
