"""A Dogecoin node for development and tests: eleven calls of JSON-RPC, a faucet, and tools to make trouble.

`POST /` is the node, behind a password. Beside it, for people: `GET /` is the faucet's page, and `python -m
wallet_sandbox.node pay ADDRESS AMOUNT` asks it from a shell. For tests: `POST /mine`, `/reorg`, `/restart`, `/catch-up`,
`/faults`. Run it with `python -m wallet_sandbox.node serve --port 8020 --state chain.jsonl --block-seconds 10`.
"""

import argparse
import html
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

from dj_wallet.custody.chain.errors import ChainError
from dj_wallet.custody.chain.networks import to_base_units, to_coins
from dj_wallet.custody.chain.transactions import Outpoint, Transaction

from .bank import QuietHandler, _hang_up
from .chain import COINBASE, NETWORK, Block, Chain, Rejected, describe_script

MODES: Final = ("ok", "drop_reply", "down")
MAX_MINED: Final = 1000

USER: Final = "sandbox"
PASSWORD: Final = "sandbox"  # noqa: S105  (of a chain whose coins are worth nothing)

Calls = Mapping[str, Callable[..., Any]]

# An amount is written as a number with eight places, as nodes do; Python's json cannot, so it is marked and unmarked.
AMOUNT: Final = re.compile(r'"<(-?\d+\.\d{8})>"')

PAGE: Final = """<!doctype html><meta charset=utf-8><title>Faucet</title>
<style>body{{font:16px/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem}}input{{font:inherit;padding:.3rem}}
input[name=address]{{width:100%;box-sizing:border-box}}</style>
<h1>Faucet</h1><p>A chain of coins that are worth nothing. Height {height}, {waiting} waiting for a block.
Coins can be sent back to {address}.</p>{note}
<form method=post action=/faucet><p><label>Address<br><input name=address required autofocus></label>
<p><label>Amount in DOGE<br><input name=amount value=100 required></label> <button>Pay</button></form>
<form method=post action=/mine><p><button>Mine a block now</button></form>"""


class RpcError(Exception):
    """An error with the code of a node."""

    def __init__(self, rpc_code: int, message: str) -> None:
        self.rpc_code = rpc_code
        super().__init__(message)


class Faults:
    """What goes wrong next: how, for which call (any, if none is named) and how often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mode, self._method, self._left = "ok", "", 0

    def switch(self, mode: str, method: str, count: int) -> None:
        with self._lock:
            self._mode, self._method, self._left = mode, method, count

    def take(self, mode: str, methods: Sequence[str]) -> bool:
        """Tell whether this fault happens to a request with these calls now, and count it."""
        with self._lock:
            if self._mode != mode or self._left < 1:
                return False
            if self._method and self._method not in methods:
                return False
            self._left -= 1
            return True


def create_app(chain: Chain, *, user: str = USER, password: str = PASSWORD) -> Flask:
    """Build the node of a chain."""
    app = Flask(__name__)
    faults = Faults()
    calls = _list_calls(chain)

    @app.post("/")
    def answer_rpc() -> Response:
        given = request.authorization
        if given is None or (given.username, given.password) != (user, password):
            return Response("", HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="rpc"'})
        said = request.get_json(force=True, silent=True)
        methods = _list_methods(said)
        if faults.take("down", methods):
            _hang_up()
            return Response("")
        if isinstance(said, list):
            answer: Any = [_answer(chain, calls, one) for one in said]
            status = HTTPStatus.OK
        else:
            answer = _answer(chain, calls, said)
            status = HTTPStatus.INTERNAL_SERVER_ERROR if answer["error"] else HTTPStatus.OK
        if faults.take("drop_reply", methods):
            _hang_up()
        return Response(AMOUNT.sub(r"\1", json.dumps(answer)), status, mimetype="application/json")

    @app.get("/")
    def show_faucet() -> str:
        return _show_page(chain)

    @app.post("/faucet")
    def pay() -> tuple[Response | str, int]:
        said: Any = request.get_json(silent=True) if request.is_json else request.form.to_dict()
        try:
            txid = chain.pay_many(_read_payments(said), replaceable=_read_flag(said, "replaceable"))
        except (
            ChainError,
            ArithmeticError,
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            if request.is_json:
                return jsonify(error=str(error)), HTTPStatus.BAD_REQUEST
            return _show_page(chain, f"Nothing was paid: {error}"), HTTPStatus.BAD_REQUEST
        if request.is_json:
            return jsonify(txid=txid), HTTPStatus.OK
        return _show_page(chain, f"Paid by {txid}"), HTTPStatus.OK

    @app.post("/mine")
    def mine() -> tuple[Response | str, int]:
        if not request.is_json:
            chain.mine()
            return _show_page(chain, "Mined."), HTTPStatus.OK
        return _do(
            lambda said: chain.mine(_read_count(said, "blocks", 1), address=said.get("address"))
        )

    @app.post("/reorg")
    def reorganize() -> tuple[Response | str, int]:
        return _do(
            lambda said: chain.reorganize(
                _read_count(said, "depth", 1),
                blocks=_read_count(said, "blocks", said.get("depth", 1) + 1),
                double_spend=said.get("double_spend", ()),
            )
        )

    @app.post("/restart")
    def restart() -> tuple[Response | str, int]:
        return _do(
            lambda said: chain.fall_behind(
                _read_count(said, "behind", 0), keep_mempool=_read_flag(said, "keep_mempool")
            )
        )

    @app.post("/catch-up")
    def catch_up() -> tuple[Response | str, int]:
        return _do(lambda _: chain.catch_up())

    @app.post("/faults")
    def switch_fault() -> tuple[Response | str, int]:
        def switch(said: Mapping[str, Any]) -> None:
            if said["mode"] not in MODES:
                raise ChainError(f"mode must be one of {', '.join(MODES)}")
            faults.switch(said["mode"], said.get("method", ""), _read_count(said, "count", 1))

        return _do(switch)

    @app.get("/healthz")
    def answer_health_check() -> Response:
        return jsonify(status="ok", height=chain.height)

    return app


def _list_calls(chain: Chain) -> Calls:
    """Return the calls by their names."""

    def getblockchaininfo() -> dict[str, Any]:
        tip = chain.tip
        return {
            "chain": NETWORK.chain,
            "blocks": tip.height,
            "headers": tip.height,
            "bestblockhash": tip.hash,
            "difficulty": 1,
            "mediantime": tip.time,
            "verificationprogress": 1,
            "initialblockdownload": False,
            "chainwork": tip.chainwork,
            "pruned": False,
        }

    def getnetworkinfo() -> dict[str, Any]:
        return {
            "version": 1140900,
            "subversion": "/Sandbox:1.14.9/",
            "protocolversion": 70015,
            "connections": 0,
            "relayfee": _mark(100_000),
            "incrementalfee": _mark(10_000),
            "warnings": "",
        }

    def getblockhash(height: int) -> str:
        if type(height) is not int or not 0 <= height <= chain.height:
            raise RpcError(-8, "Block height out of range")
        return chain.best[height]

    def getblockheader(block_hash: str, verbose: bool) -> dict[str, Any]:
        if verbose is not True:
            raise RpcError(-1, "Only verbose headers are served here")
        return _describe_header(chain, _find_block(chain, block_hash))

    def getblock(block_hash: str, verbosity: int) -> dict[str, Any]:
        if verbosity != 2:
            raise RpcError(-1, "Only verbosity 2 is served here")
        block = _find_block(chain, block_hash)
        return {
            **_describe_header(chain, block),
            "tx": [_describe_transaction(transaction) for transaction in block.transactions],
        }

    def getmempoolentry(txid: str) -> dict[str, Any]:
        transaction = chain.mempool.get(txid)
        if transaction is None:
            raise RpcError(-5, "Transaction not in mempool")
        fee = _mark(chain.get_fee_of(transaction))
        return {
            "size": len(transaction.serialize()),
            "fee": fee,
            "modifiedfee": fee,
            "time": chain.arrived_at[txid],
            "height": chain.height,
            "depends": [
                spent.outpoint.txid
                for spent in transaction.inputs
                if spent.outpoint.txid in chain.mempool
            ],
        }

    def gettxout(txid: str, vout: int, with_mempool: bool) -> dict[str, Any] | None:
        coin = chain.find_coin(Outpoint(txid, vout), with_mempool=with_mempool)
        if coin is None:
            return None
        return {
            "bestblock": chain.tip.hash,
            "confirmations": 0 if coin.height is None else chain.height - coin.height + 1,
            "value": _mark(coin.output.amount),
            "scriptPubKey": describe_script(coin.output.script),
            "version": 1,
            "coinbase": coin.is_coinbase,
        }

    def sendrawtransaction(raw: str) -> str:
        try:
            return chain.send(bytes.fromhex(raw))
        except ValueError:
            raise RpcError(-22, "TX decode failed") from None

    return {
        "getblockchaininfo": getblockchaininfo,
        "getnetworkinfo": getnetworkinfo,
        "getblockcount": lambda: chain.height,
        "getblockhash": getblockhash,
        "getblockheader": getblockheader,
        "getblock": getblock,
        "getrawmempool": lambda: list(chain.mempool),
        "getmempoolentry": getmempoolentry,
        "gettxout": gettxout,
        "sendrawtransaction": sendrawtransaction,
        "estimatesmartfee": lambda blocks: {"feerate": -1, "blocks": blocks},
    }


def _answer(chain: Chain, calls: Calls, said: object) -> dict[str, Any]:
    """Return the answer to one call of JSON-RPC 1.0, from one state of the chain."""
    number = said.get("id") if isinstance(said, dict) else None
    try:
        with chain.lock:
            return {"result": _call(calls, said), "error": None, "id": number}
    except (RpcError, Rejected) as error:
        refusal = {"code": error.rpc_code, "message": str(error)}
        return {"result": None, "error": refusal, "id": number}


def _call(calls: Calls, said: object) -> Any:
    if not isinstance(said, dict) or not isinstance(said.get("params", []), list):
        raise RpcError(-32600, "Invalid Request object")
    method = said.get("method")
    if not isinstance(method, str) or method not in calls:
        raise RpcError(-32601, "Method not found")
    try:
        return calls[method](*said.get("params", []))
    except TypeError:
        raise RpcError(-1, f"{method} is called with other parameters") from None


def _find_block(chain: Chain, block_hash: str) -> Block:
    if block_hash not in chain.blocks:
        raise RpcError(-5, "Block not found")
    return chain.blocks[block_hash]


def _describe_header(chain: Chain, block: Block) -> dict[str, Any]:
    confirmations = chain.get_confirmations(block)
    said = {
        "hash": block.hash,
        "confirmations": confirmations,
        "height": block.height,
        "version": 1,
        "merkleroot": block.merkle_root,
        "time": block.time,
        "mediantime": block.time,
        "nonce": block.nonce,
        "bits": "207fffff",
        "difficulty": 1,
        "chainwork": block.chainwork,
    }
    if block.height:
        said["previousblockhash"] = block.previous
    if confirmations > 1:
        said["nextblockhash"] = chain.best[block.height + 1]
    return said


def _describe_transaction(transaction: Transaction) -> dict[str, Any]:
    """Return a transaction as `getblock(hash, 2)` of Dogecoin 1.14 does: without its bytes."""
    size = len(transaction.serialize())
    return {
        "txid": transaction.txid,
        "hash": transaction.txid,
        "size": size,
        "vsize": size,
        "version": transaction.version,
        "locktime": transaction.lock_time,
        "vin": [
            {"coinbase": spent.script_sig.hex(), "sequence": spent.sequence}
            if spent.outpoint == COINBASE
            else {
                "txid": spent.outpoint.txid,
                "vout": spent.outpoint.vout,
                "scriptSig": {"asm": "", "hex": spent.script_sig.hex()},
                "sequence": spent.sequence,
            }
            for spent in transaction.inputs
        ],
        "vout": [
            {
                "value": _mark(output.amount),
                "n": number,
                "scriptPubKey": describe_script(output.script),
            }
            for number, output in enumerate(transaction.outputs)
        ],
    }


def _mark(amount: int) -> str:
    return f"<{to_coins(amount):f}>"


def _list_methods(said: object) -> list[str]:
    calls = said if isinstance(said, list) else [said]
    return [str(call.get("method")) for call in calls if isinstance(call, dict)]


def _do(work: Callable[[Mapping[str, Any]], Any]) -> tuple[Response | str, int]:
    """Do what a tool was told in JSON, and answer with what came of it."""
    said = request.get_json(force=True, silent=True)
    try:
        done = work(said if isinstance(said, dict) else {})
    except (ChainError, Rejected, KeyError, TypeError, ValueError) as error:
        return jsonify(error=str(error)), HTTPStatus.BAD_REQUEST
    return jsonify(done=done), HTTPStatus.OK


def _read_payments(said: Any) -> list[tuple[str, int]]:
    """Read one payment (`address`, `amount`) or several (`payments`)."""
    payments = said.get("payments", [said])
    try:
        return [(one["address"].strip(), to_base_units(Decimal(one["amount"]))) for one in payments]
    except (ArithmeticError, AttributeError, KeyError, TypeError) as error:
        raise ChainError("A payment is an address and an amount, as text.") from error


def _read_count(said: Mapping[str, Any], name: str, default: int) -> int:
    count = said.get(name, default)
    if type(count) is not int or not 0 <= count <= MAX_MINED:
        raise ChainError(f"{name} is a number from 0 to {MAX_MINED}")
    return count


def _read_flag(said: Mapping[str, Any], name: str) -> bool:
    return said.get(name, False) is True


def _show_page(chain: Chain, note: str = "") -> str:
    return PAGE.format(
        height=chain.height,
        waiting=len(chain.mempool),
        address=chain.faucet_address,
        note=f"<p><strong>{html.escape(note)}</strong>" if note else "",
    )


def mine_forever(chain: Chain, seconds: float, stop: threading.Event) -> None:
    """Mine a block every so many seconds."""
    while not stop.wait(seconds):
        chain.mine()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    if options.work == "pay":
        _pay(options)
        return
    chain = Chain(options.state)
    stop = threading.Event()
    if options.block_seconds:
        miner = threading.Thread(
            target=mine_forever, args=(chain, options.block_seconds, stop), daemon=True
        )
        miner.start()
    app = create_app(chain, user=options.user, password=options.password)
    make_server(
        options.host, options.port, app, threaded=True, request_handler=QuietHandler
    ).serve_forever()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m wallet_sandbox.node", description="A simulated Dogecoin node."
    )
    works = parser.add_subparsers(dest="work", required=True)
    serve = works.add_parser("serve", help="run the node")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8020)
    serve.add_argument("--state", type=Path, help="keep the chain in this file")
    serve.add_argument("--block-seconds", type=float, default=10, help="0: mine only when told")
    serve.add_argument("--user", default=USER)
    serve.add_argument("--password", default=PASSWORD)
    pay = works.add_parser("pay", help="pay an address from the faucet")
    pay.add_argument("address")
    pay.add_argument("amount")
    pay.add_argument("--url", default="http://127.0.0.1:8020")
    return parser.parse_args(arguments)


def _pay(options: argparse.Namespace) -> None:
    """Ask a running node's faucet and print the transaction, or what is wrong."""
    body = {"address": options.address, "amount": options.amount}
    try:
        answer = httpx.post(f"{options.url}/faucet", json=body, trust_env=False)
    except httpx.HTTPError as error:
        sys.exit(f"No node answers at {options.url}: {type(error).__name__}.")
    said = answer.json()
    if answer.status_code != HTTPStatus.OK:
        sys.exit(f"Nothing was paid: {said['error']}")
    sys.stdout.write(f"{said['txid']}\n")


if __name__ == "__main__":
    main()
