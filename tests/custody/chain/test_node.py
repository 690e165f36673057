"""The client says what is certain, sends nothing that not all nodes understand, and never shows the password."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dj_wallet.custody.chain.errors import (
    CallNotAllowed,
    NodeAnswerInvalid,
    NodeError,
    NodeOfOtherChain,
    NodeRefused,
    NodeTimedOut,
    NodeUnreachable,
)
from dj_wallet.custody.chain.networks import BASE_UNITS, get_network
from dj_wallet.custody.chain.node import CALLS, MAX_BATCH, Node
from dj_wallet.custody.chain.transactions import from_node
from wallet_service.embedded import free_port

DOGE = get_network("DOGE:regtest")
ADDRESS = "mfWyW5fc9NUj75YAnFgoRLrjxgLDn2MMth"
HASH = "ab" * 32


class ScriptedNode:
    """A node that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda _: None

    def say(self, body: object, status: int = 200) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

        self.answer = answer


@pytest.fixture
def scripted() -> Iterator[ScriptedNode]:
    script = ScriptedNode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            script.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    script.url = f"http://u:p@127.0.0.1:{server.server_port}/"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def impatient(scripted: ScriptedNode) -> Iterator[Node]:
    with Node(scripted.url, network=DOGE, timeout_seconds=0.3) as node:
        yield node


def test_there_are_eleven_calls():
    assert len(CALLS) == 11


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("getnewaddress", ()),
        ("dumpprivkey", (ADDRESS,)),
        ("scantxoutset", ("start", [])),
        ("testmempoolaccept", (["00"],)),
        ("getrawtransaction", (HASH, 1)),
        ("stop", ()),
        ("getblock", (HASH,)),
        ("getblock", (HASH, 1)),
        ("getblock", (HASH, True)),
        ("getblock", (HASH, 2, 3)),
        ("getblockheader", (HASH, False)),
        ("getblockhash", (-1,)),
        ("getblockhash", (1.0,)),
        ("getblockhash", (True,)),
        ("gettxout", (HASH, 0)),
        ("gettxout", (HASH, 0, 1)),
        ("sendrawtransaction", ("00", True)),
        ("sendrawtransaction", ("00", 0.1)),
        ("sendrawtransaction", ("zz",)),
        ("sendrawtransaction", (b"00",)),
        ("estimatesmartfee", (6, "ECONOMICAL")),
        ("getmempoolentry", (HASH[:-1],)),
        ("getblockcount", (1,)),
    ],
)
def test_a_call_that_not_every_node_understands_is_not_sent(
    scripted, impatient, method, parameters
):
    with pytest.raises(CallNotAllowed):
        impatient.call(method, *parameters)
    with pytest.raises(CallNotAllowed):
        impatient.call_many([("getblockcount", ()), (method, parameters)])
    assert scripted.asked == []


def test_a_block_is_read_with_exact_amounts(sandbox_node, node):
    txid = sandbox_node.chain.pay({ADDRESS: 123_456_789_01})
    (block_hash,) = sandbox_node.chain.mine()
    block = node.get_block(block_hash)
    assert block["tx"][1]["txid"] == txid
    assert block["tx"][1]["vout"][0]["value"] == Decimal("123.45678901")
    assert not [value for value in _walk(block) if isinstance(value, float)]
    assert [from_node(said).txid for said in block["tx"]] == [
        transaction.txid for transaction in sandbox_node.chain.tip.transactions
    ]


def _walk(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in _walk(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in _walk(one)]
    return [value]


def test_what_is_not_there_is_none(node):
    assert node.find_block_hash(10**6) is None
    assert node.find_block_header(HASH) is None
    assert node.find_mempool_entry(HASH) is None
    assert node.find_output(HASH, 0) is None


def test_a_waiting_transaction_is_seen_and_its_output_counts_with_the_mempool_only(
    sandbox_node, node
):
    txid = sandbox_node.chain.pay({ADDRESS: BASE_UNITS})
    assert node.list_mempool() == [txid]
    assert node.find_mempool_entry(txid)["depends"] == []
    assert node.find_output(txid, 0)["confirmations"] == 0
    assert node.find_output(txid, 0, with_mempool=False) is None


def test_a_refusal_carries_the_code_of_the_node(node):
    with pytest.raises(NodeRefused) as refusal:
        node.send_transaction(b"nonsense")
    assert refusal.value.rpc_code == -22
    with pytest.raises(NodeRefused) as refusal:
        node.get_block(HASH)
    assert refusal.value.rpc_code == -5


def test_a_batch_is_answered_in_its_order_refusals_included(node):
    height = node.get_block_count()
    calls = [("getblockhash", (number,)) for number in range(height + 1)]
    results = node.call_many([*calls, ("getblockhash", (height + 1,)), ("getblockcount", ())])
    assert results[:-2] == [node.find_block_hash(number) for number in range(height + 1)]
    assert results[-2].rpc_code == -8
    assert results[-1] == height


def test_a_long_batch_goes_in_parts_and_comes_back_whole(sandbox_node, node):
    sandbox_node.chain.mine(MAX_BATCH * 2)
    calls = [("getblockhash", (number,)) for number in range(MAX_BATCH * 2 + 7)]
    assert node.call_many(calls) == sandbox_node.chain.best[: MAX_BATCH * 2 + 7]
    assert node.call_many([]) == []


def test_the_nodes_chain_is_checked(sandbox_node, node):
    assert node.check_identity()["blocks"] == sandbox_node.chain.height
    for other in ("DOGE:main", "DOGE:test", "LTC:regtest"):
        with (
            Node(sandbox_node.url, network=get_network(other)) as wrong,
            pytest.raises(NodeOfOtherChain),
        ):
            wrong.check_identity()


def test_nobody_at_the_address_means_that_nothing_was_sent():
    with (
        Node(f"http://u:p@127.0.0.1:{free_port()}/", network=DOGE) as node,
        pytest.raises(NodeUnreachable),
    ):
        node.send_transaction(b"raw")


def test_a_wrong_password_means_that_nothing_was_done(sandbox_node):
    url = sandbox_node.url.replace("sandbox:sandbox@", "sandbox:wrong@")
    with Node(url, network=DOGE) as node, pytest.raises(NodeUnreachable):
        node.send_transaction(b"raw")


def test_a_lost_reply_is_an_unknown_outcome_and_the_same_bytes_may_be_sent_again(
    sandbox_node, node
):
    chain = sandbox_node.chain
    txid = chain.pay({ADDRESS: BASE_UNITS})
    raw = chain.mempool[txid].serialize()
    chain.fall_behind(0)
    assert chain.mempool == {}
    sandbox_node.break_down("drop_reply", method="sendrawtransaction")
    with pytest.raises(NodeTimedOut):
        node.send_transaction(raw)
    assert node.list_mempool() == [txid]
    assert node.send_transaction(raw) == txid


def test_reading_is_repeated_once_when_a_kept_connection_was_closed(sandbox_node, node):
    assert node.get_block_count() == sandbox_node.chain.height
    sandbox_node.break_down("down", count=1)
    assert node.get_block_count() == sandbox_node.chain.height
    sandbox_node.break_down("down", count=2)
    with pytest.raises(NodeTimedOut):
        node.get_block_count()


def test_sending_is_never_repeated_by_itself(scripted, impatient):
    scripted.answer = lambda handler: handler.connection.close()
    with pytest.raises(NodeTimedOut):
        impatient.send_transaction(b"raw")
    assert len(scripted.asked) == 1


def test_silence_is_an_unknown_outcome(scripted, impatient):
    silence = threading.Event()
    scripted.answer = lambda _: silence.wait(10) and None
    with pytest.raises(NodeTimedOut):
        impatient.send_transaction(b"raw")
    silence.set()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b"null",
        b'{"id": 0}',
        b'{"result": null, "error": "text"}',
        b'{"result": null, "error": {"code": "x"}}',
        b'{"result": NaN, "error": null}',
        b'{"result": 7, "error": null}',
        b'{"result": null, "error": null}',
        b'{"result": "abc',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_none_is_an_unknown_outcome(scripted, impatient, body):
    scripted.say(body)
    with pytest.raises(NodeAnswerInvalid):
        impatient.send_transaction(b"raw")


@pytest.mark.parametrize(
    "answers",
    [
        {"result": 1, "error": None, "id": 0},
        [{"result": 1, "error": None, "id": 0}],
        [{"result": 1, "error": None, "id": 0}] * 2,
        [{"result": 1, "error": None, "id": number} for number in (0, 2)],
        [1, 2],
    ],
)
def test_a_batch_that_is_not_answered_whole_is_refused(scripted, impatient, answers):
    scripted.say(answers)
    with pytest.raises(NodeAnswerInvalid):
        impatient.call_many([("getblockcount", ()), ("getblockcount", ())])


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_node_that_turns_us_away_did_nothing(scripted, impatient, status):
    scripted.say(b"", status)
    with pytest.raises(NodeUnreachable):
        impatient.send_transaction(b"raw")


def test_a_node_that_is_starting_did_nothing(scripted, impatient):
    error = {"code": -28, "message": "Loading block index..."}
    scripted.say({"result": None, "error": error, "id": 0}, 500)
    with pytest.raises(NodeUnreachable):
        impatient.send_transaction(b"raw")


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ({"feerate": Decimal(-1), "blocks": 6}, None),
        ({"feerate": -1, "blocks": 6}, None),
        ({"errors": ["Insufficient data or no feerate found"], "blocks": 6}, None),
        ({"feerate": 0, "blocks": 6}, None),
        ({"feerate": 1, "blocks": 6}, 10**8),
        ({"feerate": 0.0101, "blocks": 6}, 1_010_000),
    ],
)
def test_both_ways_to_say_that_there_is_no_estimate_are_understood(scripted, impatient, said, rate):
    body = json.dumps({"result": said, "error": None, "id": 0}, default=float)
    scripted.say(body.encode())
    assert impatient.estimate_fee_per_kb(6) == rate


def test_the_password_is_never_shown(caplog):
    url = "http://robot:s3cret-of-the-node@127.0.0.1:1/"
    with caplog.at_level(logging.DEBUG), Node(url, network=DOGE) as node:
        with pytest.raises(NodeError) as refusal:
            node.get_block_count()
        shown = [repr(node), str(refusal.value), repr(refusal.value), caplog.text]
    assert "s3cret" not in "".join(shown)


def test_the_password_is_not_in_the_log_of_a_request_that_worked(sandbox_node, caplog):
    with caplog.at_level(logging.DEBUG), sandbox_node.connect() as node:
        node.get_block_count()
    assert "127.0.0.1" in caplog.text
    assert "sandbox:" not in caplog.text
