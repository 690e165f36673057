"""SIGKILL at every step: before each statement and around each call of the node, until the work gets through.

The work runs in a forked process with a connection of its own, which ends itself at step 1, then at step 2, ... What
each killed one left is what the next one finds.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections

from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.signer import SigningJournal
from dj_wallet.custody.models import Chain, ChainTransaction, Output, WithdrawalRequest
from dj_wallet.custody.served import connect_node
from dj_wallet.custody.services.broadcast import broadcast_next
from dj_wallet.custody.services.scanner import scan_chain
from dj_wallet.custody.services.spending import plan_next_withdrawal
from dj_wallet.events.models import Event
from dj_wallet.ledger.models import Posting
from tests.custody.conftest import DOGE, get_address, get_status, list_events, look, withdraw

pytestmark = pytest.mark.django_db(transaction=True)

MOST_KILLS = 1000


class Countdown:
    """Kills this process when it has counted to zero."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, execute: Any, *arguments: Any) -> Any:
        self.step()
        return execute(*arguments)


class DyingNode:
    """A node whose caller may die before a call, and after it."""

    def __init__(self, node: Node, countdown: Countdown) -> None:
        self._node, self._countdown = node, countdown
        self.network = node.network

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._node, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._countdown.step()
            answer = method(*arguments, **options)
            self._countdown.step()
            return answer

        return call


def kill_at_every_step(work: Callable[[Any], None], check: Callable[[], None]) -> int:
    """Run the work, killed at each of its steps in turn, until it comes to its end; return how often it was killed.

    When a killed one had got something done, the next is killed at its first step again: from each state that the work
    leaves behind, every step is met.
    """
    killed, steps, state = 0, 1, take_state()
    while killed < MOST_KILLS:
        if _run_killed_at(steps, work):
            check()
            return killed
        check()
        killed += 1
        # Whoever died holding a lease: a minute later another takes over.
        ChainTransaction.objects.update(lease_until=None)
        before, state = state, take_state()
        steps = 1 if state != before else steps + 1
    raise AssertionError("the work never came to its end")


def take_state() -> Any:
    """Return what the work gets done, without what changes with every try."""
    return (
        list(Chain.objects.values("height", "block_hash")),
        list(Output.objects.order_by("pk").values("txid", "height", "status", "spend")),
        list(ChainTransaction.objects.order_by("pk").values("status", "height", "accepted_at")),
        list(WithdrawalRequest.objects.values("status")),
        Posting.objects.count(),
    )


def _run_killed_at(steps: int, work: Callable[[Any], None]) -> bool:
    """Fork, work, and die at that step; tell whether the work was at its end before."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        _run_and_exit(work, Countdown(steps))
    _, ended = os.waitpid(child, 0)
    if os.WIFEXITED(ended):
        assert os.WEXITSTATUS(ended) == 0
        return True
    assert os.WTERMSIG(ended) == signal.SIGKILL
    return False


def _run_and_exit(work: Callable[[Any], None], countdown: Countdown) -> None:
    status = 1
    try:
        with connection.execute_wrapper(countdown):
            work(DyingNode(connect_node(DOGE), countdown))
        status = 0
    finally:
        os._exit(status)


def test_a_scanner_killed_at_every_step_credits_once(world, alice, bob):
    Chain.objects.update(confirmations=1)
    world.pay((get_address(alice), "3"), (get_address(bob), "2"))
    world.chain.mine()

    def scan(node: Any) -> None:
        while not scan_chain(DOGE, node).is_done:
            pass

    def check() -> None:
        assert (look(alice)[0], look(bob)[0]) in {(0, 0), (3, 0), (3, 2)}

    killed = kill_at_every_step(scan, check)
    assert killed > 20
    assert (look(alice), look(bob)) == ((3, 0), (2, 0))
    assert list_events("deposit.confirmed") == ["deposit.confirmed"] * 2
    world.check_books()


def test_a_scanner_killed_at_every_step_of_a_reorganization_counts_once(world, alice):
    Chain.objects.update(confirmations=1)
    txid = world.pay((get_address(alice), "9"))
    world.mine()
    assert look(alice) == (9, 0)
    world.chain.reorganize(1, double_spend=[txid])

    def scan(node: Any) -> None:
        while not scan_chain(DOGE, node).is_done:
            pass

    def check() -> None:
        assert look(alice)[0] in {9, 0}

    killed = kill_at_every_step(scan, check)
    assert killed > 20
    assert look(alice) == (0, 0)
    assert list_events("deposit.reversed") == ["deposit.reversed"]
    assert Output.objects.get().status == Output.Status.REVERSED
    world.check_books()


def test_planner_signer_and_broadcaster_killed_at_every_step_pay_once(world, rich, tmp_path):
    withdrawal = withdraw(rich, world.outside)

    def check() -> None:
        assert len(world.chain.mempool) <= 1
        assert look(rich)[1] == withdrawal.amount + withdrawal.fee

    def plan(_: Any) -> None:
        while plan_next_withdrawal(DOGE):
            pass

    def sign(_: Any) -> None:
        world.journal = SigningJournal(tmp_path / "signer.journal")
        world.sign()

    def send(node: Any) -> None:
        while broadcast_next(DOGE, node):
            pass

    world.journal.close()
    killed = [kill_at_every_step(work, check) for work in (plan, sign, send)]
    assert all(times > 10 for times in killed), killed
    assert ChainTransaction.objects.count() == 1
    assert get_status(withdrawal) == "BROADCAST"
    world.mine(6)
    assert get_status(withdrawal) == "CONFIRMED"
    assert list_events("withdrawal.broadcast", "withdrawal.confirmed") == [
        "withdrawal.broadcast",
        "withdrawal.confirmed",
    ]
    assert Event.objects.filter(type="reserve.mismatch").count() == 0
    world.check_books()
