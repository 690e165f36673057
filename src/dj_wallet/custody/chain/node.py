"""The node of a chain, over JSON-RPC: eleven calls that Dogecoin Core 1.14 and all later ones understand alike.

Anything else is refused before it is sent. Amounts come back as Decimal, never as float. What an error means is decided
by its type, and for `NodeRefused` by `rpc_code`; texts differ between nodes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Self, TypeVar

import httpx

from dj_wallet.tls import load_authorities

from .errors import (
    CallNotAllowed,
    ChainError,
    NodeAnswerInvalid,
    NodeOfOtherChain,
    NodeRefused,
    NodeTimedOut,
    NodeUnreachable,
)
from .networks import Network, to_base_units

MAX_BATCH: Final = 100

RPC_NOT_FOUND: Final = -5
RPC_OUT_OF_RANGE: Final = -8
RPC_UNDECODABLE: Final = -22
RPC_INPUTS_MISSING_OR_SPENT: Final = -25
"""Of a resent transaction this may also mean that it was mined and its outputs were spent since."""
RPC_REFUSED_BY_POLICY: Final = -26
RPC_ALREADY_MINED: Final = -27
RPC_WARMING_UP: Final = -28


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and _is_hex(value)


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and all(digit in "0123456789abcdef" for digit in value)


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_two(value: object) -> bool:
    return type(value) is int and value == 2


def _is_true(value: object) -> bool:
    return value is True


Kind = TypeVar("Kind")
Check = Callable[[object], bool]
CALLS: Final[Mapping[str, tuple[Check, ...]]] = {
    "getblockchaininfo": (),
    "getnetworkinfo": (),
    "getblockcount": (),
    "getblockhash": (_is_number,),
    "getblockheader": (_is_hash, _is_true),
    "getblock": (_is_hash, _is_two),
    "getrawmempool": (),
    "getmempoolentry": (_is_hash,),
    "gettxout": (_is_hash, _is_number, _is_flag),
    "sendrawtransaction": (_is_hex,),
    "estimatesmartfee": (_is_number,),
}
"""Every call with exactly the arguments it takes: what lies beyond differs between nodes."""

Call = tuple[str, tuple[object, ...]]

_NOTHING_WAS_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
_NOTHING_WAS_DONE: Final = {401, 403, 429, 503}
"""Statuses with which a node turns a request away: wrong password, wrong address, full queue."""


class Node:
    """A connection to one node. Threads may share it."""

    def __init__(
        self,
        url: str,
        *,
        network: Network,
        timeout_seconds: float = 30,
    ) -> None:
        """Prepare for calls to `url`, http://user:password@host:port/; nothing is sent yet."""
        address = httpx.URL(url)
        self.network = network
        # The password is taken out of the address: httpx logs addresses.
        self._client = httpx.Client(
            base_url=address.copy_with(username=None, password=None),
            auth=(address.username, address.password),
            timeout=timeout_seconds,
            trust_env=False,
            verify=load_authorities(),
        )

    def __repr__(self) -> str:
        return f"<Node of {self.network.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check_identity(self) -> Mapping[str, Any]:
        """Return `getblockchaininfo` of the node if it serves our network: the same genesis, the same name.

        :raises NodeOfOtherChain: it serves another
        """
        info, genesis = self.call_many([("getblockchaininfo", ()), ("getblockhash", (0,))])
        for answer in (info, genesis):
            if isinstance(answer, NodeRefused):
                raise answer
        chain = _expect(info, dict).get("chain")
        if genesis != self.network.genesis or chain != self.network.chain:
            raise NodeOfOtherChain(
                f"The node serves {chain} with genesis {genesis}, "
                f"not {self.network.name} with {self.network.genesis}."
            )
        return _expect(info, dict)

    def get_network_info(self) -> Mapping[str, Any]:
        return _expect(self.call("getnetworkinfo"), dict)

    def get_block_count(self) -> int:
        """Return the height of the node's best block."""
        return _expect(self.call("getblockcount"), int)

    def find_block_hash(self, height: int) -> str | None:
        """Return the hash of the best chain's block at this height, or None if it is not that high."""
        found = self._find("getblockhash", height, missing=RPC_OUT_OF_RANGE)
        return None if found is None else _expect(found, str)

    def find_block_header(self, block_hash: str) -> Mapping[str, Any] | None:
        """Return a header: height, confirmations (-1 off the best chain), previousblockhash, chainwork. None if unknown."""
        found = self._find("getblockheader", block_hash, True, missing=RPC_NOT_FOUND)
        return None if found is None else _expect(found, dict)

    def get_block(self, block_hash: str) -> Mapping[str, Any]:
        """Return a block with its transactions, as `transactions.from_node` reads them.

        :raises NodeRefused: the node does not have it (rpc_code -5, or -1 where it is pruned)
        """
        return _expect(self.call("getblock", block_hash, 2), dict)

    def list_mempool(self) -> list[str]:
        """Return the ids of the transactions that wait for a block."""
        return _expect(self.call("getrawmempool"), list)

    def find_mempool_entry(self, txid: str) -> Mapping[str, Any] | None:
        """Return what the node knows of a waiting transaction, or None if it does not wait."""
        found = self._find("getmempoolentry", txid, missing=RPC_NOT_FOUND)
        return None if found is None else _expect(found, dict)

    def find_output(
        self, txid: str, vout: int, *, with_mempool: bool = True
    ) -> Mapping[str, Any] | None:
        """Return an output that is unspent (by the mempool too, unless told otherwise), or None."""
        found = self.call("gettxout", txid, vout, with_mempool)
        return None if found is None else _expect(found, dict)

    def send_transaction(self, raw: bytes) -> str:
        """Send a signed transaction and return its id. Sending the same bytes again is harmless and gives the same id.

        Only an id proves anything: after every error of this call the transaction may still be mined one day, so ask
        by its id. `NodeRefused` with RPC_ALREADY_MINED says that it was.

        :raises NodeUnreachable: certainly not sent
        :raises NodeTimedOut: unknown
        :raises NodeRefused: this node did not take it now
        """
        return _expect(self.call("sendrawtransaction", raw.hex()), str)

    def estimate_fee_per_kb(self, blocks: int) -> int | None:
        """Return the fee per 1,000 bytes, in base units, that gets into one of the next blocks; None if the node cannot say."""
        said = _expect(self.call("estimatesmartfee", blocks), dict)
        rate = said.get("feerate")
        if type(rate) is int:
            rate = Decimal(rate)
        if not isinstance(rate, Decimal) or rate <= 0:
            return None
        try:
            return to_base_units(rate)
        except ChainError as error:
            raise NodeAnswerInvalid("The node's estimate is no amount.") from error

    def call(self, method: str, *parameters: object) -> Any:
        """Return the result of one call.

        :raises NodeError: see its leaves
        """
        request = {"jsonrpc": "1.0", "id": 0, "method": _check_call(method, parameters)}
        answer = self._post(request | {"params": list(parameters)}, repeatable=_repeats(method))
        result = _read_answer(answer)
        if isinstance(result, NodeRefused):
            raise result
        return result

    def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """Return the result of each call in their order, a `NodeRefused` for one that was refused. One round trip per 100.

        :raises NodeError: see its leaves; then none of the results is known
        """
        results: list[Any] = []
        for start in range(0, len(calls), MAX_BATCH):
            results += self._call_batch(calls[start : start + MAX_BATCH])
        return results

    def _call_batch(self, calls: Sequence[Call]) -> list[Any]:
        requests = [
            {
                "jsonrpc": "1.0",
                "id": number,
                "method": _check_call(method, parameters),
                "params": list(parameters),
            }
            for number, (method, parameters) in enumerate(calls)
        ]
        answers = self._post(requests, repeatable=all(_repeats(method) for method, _ in calls))
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise NodeAnswerInvalid("The node did not answer every call of the batch.")
        by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
        if set(by_id) != set(range(len(calls))):
            raise NodeAnswerInvalid("The node's answers do not fit the calls.")
        return [_read_answer(by_id[number]) for number in range(len(calls))]

    def _find(self, method: str, *parameters: object, missing: int) -> Any:
        try:
            return self.call(method, *parameters)
        except NodeRefused as refusal:
            if refusal.rpc_code != missing:
                raise
            return None

    def _post(self, body: object, *, repeatable: bool) -> Any:
        """Send a request and return the decoded answer. What only reads is sent again once over a fresh connection if the
        node had closed the one we kept."""
        try:
            try:
                response = self._client.post("", json=body)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if not repeatable:
                    raise
                response = self._client.post("", json=body)
        except _NOTHING_WAS_SENT as error:
            raise NodeUnreachable(f"No connection to the node: {type(error).__name__}.") from None
        except httpx.HTTPError as error:
            raise NodeTimedOut(f"No answer of the node: {type(error).__name__}.") from None
        if response.status_code in _NOTHING_WAS_DONE:
            raise NodeUnreachable(f"The node turned us away: HTTP {response.status_code}.")
        try:
            return json.loads(
                response.content, parse_float=Decimal, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError):
            raise NodeAnswerInvalid("The node's answer is not JSON.") from None


def _check_call(method: str, parameters: Sequence[object]) -> str:
    checks = CALLS.get(method)
    if checks is None:
        raise CallNotAllowed(f"{method} is not understood by all our nodes.")
    if len(checks) != len(parameters) or not all(
        check(parameter) for check, parameter in zip(checks, parameters, strict=True)
    ):
        raise CallNotAllowed(f"{method} is not called like this.")
    return method


def _repeats(method: str) -> bool:
    return method != "sendrawtransaction"


def _read_answer(answer: object) -> Any:
    """Return the result of an answer, or its `NodeRefused`."""
    if not isinstance(answer, dict) or not {"result", "error"} & set(answer):
        raise NodeAnswerInvalid("The node's answer is no JSON-RPC.")
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        raise NodeAnswerInvalid("The node's error has no code.")
    if error["code"] == RPC_WARMING_UP:
        raise NodeUnreachable("The node is starting.")
    return NodeRefused(error["code"], str(error.get("message", ""))[:1000])


def _expect(value: Any, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind) or type(value) is bool:
        raise NodeAnswerInvalid(f"The node did not answer with a {kind.__name__}.")
    return value


def _refuse_constant(text: str) -> None:
    raise ValueError(text)
