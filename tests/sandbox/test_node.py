"""The sandbox node behaves like the real one where it matters, over a real socket with a real process."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dj_wallet.custody.chain.addresses import get_script
from dj_wallet.custody.chain.errors import ChainError, NodeUnreachable
from dj_wallet.custody.chain.keys import AccountKey
from dj_wallet.custody.chain.networks import BASE_UNITS
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.transactions import (
    Outpoint,
    Output,
    build_unsigned,
    p2pkh_script,
    sign,
)
from wallet_sandbox.chain import FIRST_BLOCKS, NETWORK, Chain, Rejected
from wallet_sandbox.node import main
from wallet_service.embedded import free_port

KEY = AccountKey.from_seed(bytes(range(64)), NETWORK)
ADDRESS = KEY.public.get_address(0, 0)
SCRIPT = p2pkh_script(bytes(20))


class NodeProcess:
    """A node process that can be killed and started again on the same file."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.tools = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)
        self.node = Node(f"http://sandbox:sandbox@127.0.0.1:{self.port}/", network=NETWORK)

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "wallet_sandbox.node", "serve", "--port", str(self.port)]
        command += ["--state", str(self.state), *(options or ("--block-seconds", "0"))]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 300
        while True:
            try:
                assert self.tools.get("/healthz").json()["status"] == "ok"
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(tmp_path / "chain.jsonl")
    process.start()
    yield process
    process.kill()
    process.tools.close()
    process.node.close()


def pay_back(outpoint: Outpoint, amount: int, *, replaceable: bool = False, **key: int) -> bytes:
    """Return a transaction that spends an output of ours."""
    unsigned = build_unsigned([outpoint], [Output(amount, SCRIPT)], replaceable=replaceable)
    return sign(unsigned, [KEY.get_child(0, key.get("index", 0))]).serialize()


def test_a_killed_node_comes_back_with_its_chain_and_what_waited(process):
    process.tools.post("/faucet", json={"address": ADDRESS, "amount": "12.5"})
    process.tools.post("/mine", json={"blocks": 3})
    process.tools.post("/reorg", json={"depth": 2})
    txid = process.tools.post("/faucet", json={"address": ADDRESS, "amount": "3"}).json()["txid"]
    height = process.node.get_block_count()
    tip = process.node.find_block_hash(height)
    process.kill()
    with process.state.open("a") as lines:
        lines.write('{"block": ["01')
    process.start()
    assert process.node.get_block_count() == height == FIRST_BLOCKS + 4
    assert process.node.find_block_hash(height) == tip
    assert process.node.list_mempool() == [txid]


def test_blocks_come_by_themselves(process):
    process.kill()
    process.start("--block-seconds", "0.05")
    deadline = time.monotonic() + 300
    while process.node.get_block_count() < FIRST_BLOCKS + 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_shell_pays_an_address_from_the_faucet(process, capsys):
    main(["pay", ADDRESS, "7.25", "--url", str(process.tools.base_url)])
    txid = capsys.readouterr().out.strip()
    assert str(process.node.find_output(txid, 0)["value"]) == "7.25000000"
    with pytest.raises(SystemExit):
        main(["pay", "nowhere", "1", "--url", str(process.tools.base_url)])


def test_the_faucets_page_pays_and_says_what_is_wrong(process):
    page = process.tools.post("/faucet", data={"address": f" {ADDRESS} ", "amount": "1"})
    assert f"Paid by {process.node.list_mempool()[0]}" in page.text
    page = process.tools.post("/faucet", data={"address": "<script>", "amount": "1"})
    assert (page.status_code, "<script>" in page.text) == (400, False)
    for amount in ("", "x", "-1", "NaN", "1e30", "0.000000001"):
        page = process.tools.post("/faucet", data={"address": ADDRESS, "amount": amount})
        assert (page.status_code, "Nothing was paid" in page.text) == (400, True)
    assert "Faucet" in process.tools.get("/").text
    assert len(process.node.list_mempool()) == 1


NONSENSE = [
    ("/mine", {"blocks": -1}),
    ("/mine", {"blocks": "1"}),
    ("/mine", {"blocks": 10**9}),
    ("/mine", {"address": "nowhere"}),
    ("/reorg", {"depth": 0}),
    ("/reorg", {"depth": 900}),
    ("/reorg", {"depth": 1, "double_spend": ["ab" * 32]}),
    ("/restart", {"behind": 900}),
    ("/faults", {"mode": "explode"}),
    ("/faults", {}),
    ("/faucet", {"address": ADDRESS}),
    ("/faucet", []),
]


def test_a_tool_that_is_told_nonsense_says_so_and_does_nothing(process):
    for path, body in NONSENSE:
        assert process.tools.post(path, json=body).status_code == 400, (path, body)
    assert process.node.get_block_count() == FIRST_BLOCKS
    assert process.node.list_mempool() == []


def test_the_node_wants_its_password(process):
    url = f"http://sandbox:wrong@127.0.0.1:{process.port}/"
    with Node(url, network=NETWORK) as node, pytest.raises(NodeUnreachable):
        node.get_block_count()


BAD_CALLS = [
    ({"method": "getnewaddress", "params": []}, -32601),
    ({"method": "getblockhash", "params": []}, -1),
    ({"method": "getblockhash", "params": ["7"]}, -8),
    ({"method": "getblock", "params": ["ab" * 32, 1]}, -1),
    ({"method": "sendrawtransaction", "params": ["zz"]}, -22),
    ({"method": 7}, -32601),
    ([1], -32600),
    (7, -32600),
]


def test_a_call_that_makes_no_sense_gets_the_code_of_a_node(process):
    for body, code in BAD_CALLS:
        answer = process.tools.post("/", json=body, auth=("sandbox", "sandbox")).json()
        (answer,) = answer if isinstance(answer, list) else [answer]
        assert answer["error"]["code"] == code, body


# The chain's own rules


@pytest.fixture
def chain() -> Chain:
    return Chain()


def refuse(chain: Chain, raw: bytes) -> int:
    before = (dict(chain.mempool), chain.height)
    with pytest.raises(Rejected) as refusal:
        chain.send(raw)
    assert (dict(chain.mempool), chain.height) == before
    return refusal.value.rpc_code


def receive(chain: Chain, amount: int = 10 * BASE_UNITS) -> Outpoint:
    txid = chain.pay({ADDRESS: amount})
    chain.mine()
    return Outpoint(txid, 0)


def test_an_output_is_spent_once(chain):
    raw = pay_back(receive(chain), 9 * BASE_UNITS)
    txid = chain.send(raw)
    assert chain.send(raw) == txid
    chain.mine()
    assert refuse(chain, raw) == -27
    other = pay_back(Outpoint(txid, 0), BASE_UNITS)
    assert refuse(chain, other) == -26


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"index": 1}, -26),
        ({"amount": 11 * BASE_UNITS}, -26),
        ({"amount": 10 * BASE_UNITS}, -26),
        ({"amount": BASE_UNITS // 2000}, -26),
    ],
)
def test_what_is_wrongly_signed_or_valued_is_refused(chain, change, code):
    options = {"amount": 9 * BASE_UNITS} | change
    assert refuse(chain, pay_back(receive(chain), **options)) == code


def test_what_is_not_there_is_not_spent(chain):
    assert refuse(chain, pay_back(Outpoint("ab" * 32, 0), BASE_UNITS)) == -25
    assert refuse(chain, b"no transaction") == -22


def test_a_reward_is_not_spent_before_it_is_mature(chain):
    chain.mine(1, address=ADDRESS)
    reward = Outpoint(chain.tip.transactions[0].txid, 0)
    raw = pay_back(reward, BASE_UNITS * 9_999)
    assert refuse(chain, raw) == -26
    chain.mine(NETWORK.coinbase_maturity - 1)
    chain.send(raw)


def test_only_what_says_so_is_replaced_and_only_for_more(chain):
    spent = receive(chain)
    first = chain.send(pay_back(spent, 9 * BASE_UNITS, replaceable=True))
    assert refuse(chain, pay_back(spent, 9 * BASE_UNITS + 1000, replaceable=True)) == -26
    second = chain.send(pay_back(spent, 8 * BASE_UNITS))
    assert list(chain.mempool) == [second]
    assert first != second
    assert refuse(chain, pay_back(spent, 7 * BASE_UNITS)) == -26


def test_what_was_mined_waits_again_after_a_reorganization(chain):
    spent = receive(chain)
    txid = chain.send(pay_back(spent, 9 * BASE_UNITS))
    chain.mine(2)
    chain.reorganize(3, blocks=0)
    assert set(chain.mempool) == {spent.txid, txid}
    chain.mine()
    assert chain.find_coin(Outpoint(txid, 0), with_mempool=False) is not None


def test_a_payment_that_is_spent_twice_never_comes_back(chain):
    outpoint = receive(chain)
    chain.reorganize(1, double_spend=[outpoint.txid])
    chain.mine(3)
    assert chain.find_coin(outpoint, with_mempool=True) is None
    assert outpoint.txid not in chain.mined_at
    with pytest.raises(ChainError):
        chain.reorganize(1, double_spend=["ab" * 32])


def test_a_node_that_fell_behind_catches_up_with_the_same_blocks(chain):
    outpoint = receive(chain)
    best = list(chain.best)
    chain.fall_behind(5)
    assert (chain.height, chain.mempool) == (len(best) - 6, {})
    assert chain.find_coin(outpoint, with_mempool=True) is None
    chain.catch_up()
    assert chain.best == best
    assert chain.find_coin(outpoint, with_mempool=True).output.amount == 10 * BASE_UNITS


def test_no_coin_appears_or_vanishes_whatever_happens(chain):
    for number in range(1, 6):
        chain.send(pay_back(receive(chain), 9 * BASE_UNITS))
        chain.reorganize(number)
    rewards = sum(chain.blocks[block].transactions[0].outputs[0].amount for block in chain.best[1:])
    fees = sum(
        sum(chain._find_output(item.outpoint).amount for item in transaction.inputs)
        - sum(output.amount for output in transaction.outputs)
        for block in chain.best[1:]
        for transaction in chain.blocks[block].transactions[1:]
    )
    held = sum(coin.output.amount for coin in chain.coins.values())
    assert held == rewards - fees


def test_the_waiting_chain_is_not_longer_than_nodes_allow(chain):
    outpoint, amount = receive(chain, 1000 * BASE_UNITS), 1000 * BASE_UNITS
    script = get_script(ADDRESS, NETWORK)
    for _ in range(25):
        amount -= BASE_UNITS
        unsigned = build_unsigned([outpoint], [Output(amount, script)])
        signed = sign(unsigned, [KEY.get_child(0, 0)])
        outpoint = Outpoint(chain.send(signed.serialize()), 0)
    assert refuse(chain, pay_back(outpoint, amount - BASE_UNITS)) == -26
    chain.mine()
    chain.send(pay_back(outpoint, amount - BASE_UNITS))
