"""Alice and Bob with Dogecoin wallets, a sandbox node on a real socket, and a signer with a key of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import get_network, to_base_units
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.signer import Limits, SigningJournal, SigningPolicy, answer_one
from dj_wallet.custody.models import Chain, ChainTransaction, Output, WithdrawalRequest
from dj_wallet.custody.served import connect_node
from dj_wallet.custody.services.addresses import get_deposit_address
from dj_wallet.custody.services.broadcast import broadcast_next
from dj_wallet.custody.services.chains import ensure_chain
from dj_wallet.custody.services.reconciliation import reconcile
from dj_wallet.custody.services.scanner import scan_chain
from dj_wallet.custody.services.signing import SigningRows
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.custody.services.withdrawals import request_withdrawal
from dj_wallet.events.models import Event
from dj_wallet.identity.models import User
from dj_wallet.ledger.accounts import ensure_asset, system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Wallet
from tests.custody.litecoin import litecoin
from wallet_sandbox.bank import QuietHandler
from wallet_sandbox.chain import Chain as SandboxChain
from wallet_sandbox.node import PASSWORD, USER, create_app

__all__ = ["litecoin"]

DOGE = "DOGE:regtest"
SECRET = "a secret of more than thirty-two letters"
SEED = bytes(range(64))
COIN = 10**8


def open_wallet(name: str, asset: str = "DOGE") -> Wallet:
    ensure_asset(asset, decimal_places=8)
    user = User.objects.create(username=name)
    return Wallet.objects.get_or_create_wallet(user, asset.lower(), asset_id=asset)[0]


def name_network(wallet: Wallet) -> str:
    return f"{wallet.asset_id}:regtest"


@pytest.fixture
def key() -> AccountKey:
    """What the signer alone has."""
    return AccountKey.from_seed(SEED, get_network(DOGE))


@pytest.fixture
def served(settings, key, db) -> str:
    """Custody of Dogecoin, 6 confirmations, deposits and withdrawals from 1 DOGE."""
    settings.CUSTODY_XPUBS = [f"{DOGE}={key.public.export()}"]
    settings.CUSTODY_NODE_URLS = []
    settings.CUSTODY_APPROVAL_SECRET = SECRET
    ensure_chain(DOGE)
    return DOGE


@pytest.fixture
def alice(served) -> Wallet:
    return open_wallet("alice")


@pytest.fixture
def bob(served) -> Wallet:
    return open_wallet("bob")


@pytest.fixture
def journal(tmp_path) -> Iterator[SigningJournal]:
    journal = SigningJournal(tmp_path / "signer.journal")
    yield journal
    journal.close()


class World:
    """A chain, its node, and the programs of custody to be run a step at a time."""

    def __init__(self, chain: Any, journal: SigningJournal, key: AccountKey) -> None:
        self.chain = chain
        self.name = key.network.name
        self.node: Node = connect_node(self.name)
        self.journal = journal
        self.keys = [key]
        self.limits = Limits(10**6 * COIN, 10**7 * COIN, frozenset())

    @property
    def outside(self) -> str:
        """An address that is nobody's here."""
        return self.chain.faucet_address

    def pay(self, *payments: tuple[str, str]) -> str:
        """Pay addresses from outside, in one transaction."""
        return self.chain.pay_many(
            [(address, to_base_units(Decimal(amount))) for address, amount in payments],
            replaceable=True,
        )

    def mine(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)
        self.scan()

    def scan(self) -> None:
        while not scan_chain(self.name, self.node).is_done:
            pass

    def sign(self) -> int:
        """Let the signer answer everything; return how much that was."""
        answered = 0
        while answer_one(
            SigningRows(),
            find_key=lambda network, identifier: next(
                (one for one in self.keys if one.public.identifier == identifier), None
            ),
            policy=SigningPolicy(SECRET.encode(), {self.name: self.limits}),
            journal=self.journal,
            now=1_800_000_000.0,
        ):
            answered += 1
        return answered

    def send(self) -> None:
        while broadcast_next(self.name, self.node):
            pass

    def work(self) -> None:
        """Plan, sign and send everything that waits."""
        while plan_next_withdrawal(self.name):
            pass
        self.sign()
        self.send()

    def check_books(self) -> None:
        """The chain equals the ledger to the base unit, and the ledger agrees with itself."""
        found = reconcile(self.name, self.node, full=True)
        assert (found.unexplained, found.node_problems) == (0, [])
        assert audit_ledger().problems == []


@pytest.fixture
def sandbox(settings, served) -> Iterator[SandboxChain]:
    """The sandbox node, which the service is pointed at."""
    chain = SandboxChain()
    server = make_server(
        "127.0.0.1", 0, create_app(chain), threaded=True, request_handler=QuietHandler
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    settings.CUSTODY_NODE_URLS = [f"{DOGE}=http://{USER}:{PASSWORD}@127.0.0.1:{server.port}/"]
    yield chain
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def world(sandbox, journal, key) -> Iterator[World]:
    world = World(sandbox, journal, key)
    world.scan()
    yield world
    world.node.close()


@pytest.fixture
def cut_off() -> Any:
    """A context with a node behind a proxy that passes requests on and never answers `sendrawtransaction`."""

    @contextmanager
    def cut(node: Node) -> Iterator[Node]:
        real = httpx.Client(base_url=node._client.base_url, auth=node._client.auth, trust_env=False)

        class Proxy(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = real.post("", content=body)
                if b"sendrawtransaction" in body:
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with Node(f"http://127.0.0.1:{server.server_port}/", network=node.network) as deaf:
            yield deaf
        server.shutdown()
        thread.join()
        server.server_close()
        real.close()

    return cut


def get_address(wallet: Wallet) -> str:
    return get_deposit_address(wallet=wallet, network=name_network(wallet)).address


@pytest.fixture
def rich(world, alice) -> Wallet:
    """Alice with 100 DOGE, confirmed."""
    world.pay((get_address(alice), "100"))
    world.mine(6)
    alice.refresh_from_db()
    return alice


def withdraw(wallet: Wallet, address: str, amount: Any = "10", **options: Any) -> WithdrawalRequest:
    return request_withdrawal(
        wallet=wallet, network=name_network(wallet), amount=amount, address=address, **options
    )[0]


def look(wallet: Wallet) -> tuple[Decimal, Decimal]:
    """Return what is available and what is pending."""
    wallet.refresh_from_db()
    return wallet.balance, wallet.pending_balance


def list_events(*types: str) -> list[str]:
    found = Event.objects.order_by("pk").values_list("type", flat=True)
    return [one for one in found if not types or one in types]


def system_balance(code: str, asset: str = "DOGE") -> Decimal:
    return get_balance(system_account(code, asset))


def get_status(withdrawal: WithdrawalRequest) -> str:
    withdrawal.refresh_from_db()
    return str(withdrawal.status)


@pytest.fixture
def rows() -> Callable[[], Any]:
    """A function that returns all that custody's rows say of money."""

    def take() -> Any:
        return (
            list(Output.objects.order_by("pk").values()),
            list(ChainTransaction.objects.order_by("pk").values("txid", "status", "height")),
            list(WithdrawalRequest.objects.order_by("pk").values("status", "txid")),
            list(Chain.objects.values("height", "block_hash")),
        )

    return take
