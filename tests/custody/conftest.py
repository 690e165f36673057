"""Alice and Bob with Dogecoin wallets, a sandbox node on a real socket, and a signer with a key of its own."""

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
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
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.custody.services.withdrawals import request_withdrawal
from dj_wallet.events.models import Event
from dj_wallet.identity.models import User
from dj_wallet.ledger.accounts import ensure_asset, system_account
from dj_wallet.ledger.audit import audit_ledger
from dj_wallet.ledger.queries import get_balance
from dj_wallet.models import Wallet
from wallet_sandbox.bank import QuietHandler
from wallet_sandbox.chain import Chain as SandboxChain
from wallet_sandbox.node import PASSWORD, USER, create_app

DOGE = "DOGE:regtest"
SECRET = "a secret of more than thirty-two letters"
SEED = bytes(range(64))
COIN = 10**8


def open_wallet(name: str) -> Wallet:
    ensure_asset("DOGE", decimal_places=8)
    user = User.objects.create(username=name)
    return Wallet.objects.get_or_create_wallet(user, "doge", asset_id="DOGE")[0]


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

    def __init__(self, chain: SandboxChain, journal: SigningJournal, key: AccountKey) -> None:
        self.chain = chain
        self.node: Node = connect_node(DOGE)
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
        while not scan_chain(DOGE, self.node).is_done:
            pass

    def sign(self) -> int:
        """Let the signer answer everything; return how much that was."""
        from dj_wallet.custody.services.signing import SigningRows

        answered = 0
        while answer_one(
            SigningRows(),
            find_key=lambda network, identifier: next(
                (one for one in self.keys if one.public.identifier == identifier), None
            ),
            policy=SigningPolicy(SECRET.encode(), {DOGE: self.limits}),
            journal=self.journal,
            now=1_800_000_000.0,
        ):
            answered += 1
        return answered

    def send(self) -> None:
        while broadcast_next(DOGE, self.node):
            pass

    def work(self) -> None:
        """Plan, sign and send everything that waits."""
        while plan_next_withdrawal(DOGE):
            pass
        self.sign()
        self.send()

    def check_books(self) -> None:
        """The chain equals the ledger to the base unit, and the ledger agrees with itself."""
        found = reconcile(DOGE, self.node, full=True)
        assert (found.unexplained, found.node_problems) == (0, [])
        assert audit_ledger().problems == []


@pytest.fixture
def sandbox(settings, served) -> Iterator[SandboxChain]:
    """The sandbox node, which the service is pointed at."""
    chain = SandboxChain()
    server = make_server(
        "127.0.0.1", 0, create_app(chain), threaded=True, request_handler=QuietHandler
    )
    thread = threading.Thread(target=server.serve_forever)
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


def get_address(wallet: Wallet) -> str:
    return get_deposit_address(wallet=wallet, network=DOGE).address


@pytest.fixture
def rich(world, alice) -> Wallet:
    """Alice with 100 DOGE, confirmed."""
    world.pay((get_address(alice), "100"))
    world.mine(6)
    alice.refresh_from_db()
    return alice


def withdraw(wallet: Wallet, address: str, amount: Any = "10", **options: Any) -> WithdrawalRequest:
    return request_withdrawal(
        wallet=wallet, network=DOGE, amount=amount, address=address, **options
    )[0]


def look(wallet: Wallet) -> tuple[Decimal, Decimal]:
    """Return what is available and what is pending."""
    wallet.refresh_from_db()
    return wallet.balance, wallet.pending_balance


def list_events(*types: str) -> list[str]:
    found = Event.objects.order_by("pk").values_list("type", flat=True)
    return [one for one in found if not types or one in types]


def system_balance(code: str) -> Decimal:
    return get_balance(system_account(code, "DOGE"))


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


def count_statements(work: Callable[[], Any]) -> int:
    """Return how many statements the work needs."""
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        work()
    return len(captured)
