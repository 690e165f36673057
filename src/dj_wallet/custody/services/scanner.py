"""Reads the chain block by block into our rows, and takes blocks back that the chain gave up.

One block is one transaction of the database: its outputs that pay us, its inputs that spend ours, our transactions in it,
and the cursor, which moves only if it still stands where we looked (two scanners disturb nobody). The node is asked
between transactions, never in one. What a block costs does not depend on how many addresses are watched: its
scripts are looked up in one index.
"""

import logging
from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from dj_wallet.custody.chain.errors import (
    NodeError,
    NodeOfOtherChain,
    TransactionInvalid,
)
from dj_wallet.custody.chain.networks import to_coins
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.chain.transactions import from_node
from dj_wallet.custody.models import (
    Address,
    Block,
    Chain,
    ChainTransaction,
    Output,
    PreviousTransaction,
    WithdrawalRequest,
)
from dj_wallet.events.services import publish_event

from .chains import ensure_chain, freeze, note_state
from .deposits import credit_confirmed, describe_deposit, reverse_lost
from .settlement import settle_confirmed

logger = logging.getLogger(__name__)

# A reorganization deeper than this is not followed but looked at by people.
MAX_REORG_BLOCKS: Final = 100
KEPT_BLOCKS: Final = MAX_REORG_BLOCKS + 20
# How many blocks are read before the cursor's news are told to the books.
MAX_BLOCKS: Final = 200
FEE_TARGET_BLOCKS: Final = 6


class CursorMoved(Exception):
    """Somebody else moved the cursor, or the chain changed while we looked: look again."""


class Scan(NamedTuple):
    """What one look at the chain did."""

    connected: int = 0
    disconnected: int = 0
    credited: int = 0
    is_done: bool = True


class Paying(NamedTuple):
    """An output of a block, in base units."""

    txid: str
    vout: int
    script: str
    amount: Decimal
    is_coinbase: bool


def scan_chain(name: str, node: Node, *, start_height: int | None = None) -> Scan:
    """Follow the node's best chain from our cursor, at most `MAX_BLOCKS` further, and book what that confirms.

    A node that is away, behind, or of another chain changes nothing but the state of the network.

    :param start_height: the first block to read of a network that was never read; without it, the newest
    """
    chain = ensure_chain(name)
    try:
        return _follow(chain, node, start_height)
    except CursorMoved:
        return Scan(is_done=False)
    except NodeOfOtherChain as error:
        note_state(chain, Chain.State.WRONG_CHAIN, str(error))
    except NodeError as error:
        note_state(chain, Chain.State.NODE_DOWN, str(error))
    return Scan()


def rescan_blocks(name: str, node: Node, *, from_height: int) -> int:
    """Read blocks up to the cursor again, and add what is missing. Return how many. Changes no cursor.

    :raises NodeError: the node did not answer
    """
    chain = ensure_chain(name)
    chain.refresh_from_db()
    if chain.height is None:
        return 0
    for height in range(from_height, chain.height + 1):
        block = node.get_block(_get_header(node, height)[0])
        with transaction.atomic():
            _lock_cursor(chain)
            _read_block(chain, block)
    book_confirmed(chain)
    return max(0, chain.height + 1 - from_height)


def rewind_chain(name: str, node: Node, *, to_height: int) -> None:
    """Put the cursor back to a block of the node's chain, as after a reorganization that deep: for operators.

    Reading goes on from there; what is found again was never lost, what is not is taken back as always.

    :raises NodeError: the node did not answer
    """
    chain = ensure_chain(name)
    chain.refresh_from_db()
    block_hash, header = _get_header(node, to_height)
    chainwork = header["chainwork"]
    with transaction.atomic():
        _lock_cursor(chain)
        _disconnect_above(chain, to_height)
        Block.objects.update_or_create(
            chain=chain, height=to_height, defaults={"hash": block_hash, "chainwork": chainwork}
        )
        _move_cursor(chain, to_height, block_hash, chainwork)
        note_state(chain, Chain.State.READING)


def book_confirmed(chain: Chain) -> int:
    """Credit, settle and take back what the blocks up to the cursor say; return how many deposits were credited.

    Idempotent: it goes by the rows alone, so that whoever was killed before it is finished by whoever comes next.
    """
    credited = credit_confirmed(chain)
    settle_confirmed(chain)
    return credited


def _follow(chain: Chain, node: Node, start_height: int | None) -> Scan:
    tip = node.check_identity()
    chain.refresh_from_db()
    if chain.state == Chain.State.HALTED:
        return Scan()
    if chain.height is None:
        _start(chain, node, tip["blocks"] if start_height is None else start_height)
    if chain.block_hash == tip["bestblockhash"]:
        return _finish(chain, node, tip["blocks"], Scan())
    if _is_behind(chain, tip["chainwork"]):
        note_state(
            chain,
            Chain.State.NODE_BEHIND,
            f"The node is at {tip['blocks']}, we are at {chain.height} with more work.",
            node_height=tip["blocks"],
        )
        return Scan()
    disconnected = _undo_fork(chain, node)
    if chain.state == Chain.State.HALTED:
        return Scan(disconnected=disconnected)
    last = min(tip["blocks"], _height(chain) + MAX_BLOCKS)
    connected = 0
    while _height(chain) < last:
        _connect_next(chain, node)
        connected += 1
    is_done = last == tip["blocks"]
    return _finish(chain, node, tip["blocks"], Scan(connected, disconnected, is_done=is_done))


def _finish(chain: Chain, node: Node, node_height: int, scan: Scan) -> Scan:
    """Book what the cursor confirms, take back what is gone, and note how we stand."""
    credited = book_confirmed(chain)
    reverse_lost(chain, node)
    state = Chain.State.READY if scan.is_done else Chain.State.READING
    rate = _estimate_fee_rate(node)
    note_state(chain, state, node_height=node_height, fee_rate_per_kb=to_coins(rate))
    return scan._replace(credited=credited)


def _start(chain: Chain, node: Node, height: int) -> None:
    """Put the cursor before the first block to read, which is read like every other."""
    block_hash, header = _get_header(node, max(0, height - 1))
    with transaction.atomic():
        Chain.objects.select_for_update().get(pk=chain.pk)
        Block.objects.get_or_create(
            chain=chain,
            height=header["height"],
            defaults={"hash": block_hash, "chainwork": header["chainwork"]},
        )
        _move_cursor(chain, header["height"], block_hash, header["chainwork"])


def _is_behind(chain: Chain, chainwork: str) -> bool:
    """Tell whether the node knows less work than we have seen, or as much of another kind.

    A node that was killed or replaced comes back with an old chain: following it would orphan every deposit.
    """
    return int(chainwork, 16) <= int(chain.chainwork, 16)


def _undo_fork(chain: Chain, node: Node) -> int:
    """Take back our blocks that the node's chain does not have; return how many."""
    known = list(
        Block.objects.filter(chain=chain, height__lte=_height(chain)).order_by("-height")[
            : MAX_REORG_BLOCKS + 1
        ]
    )
    for depth, block in enumerate(known):
        if node.find_block_hash(block.height) == block.hash:
            for _ in range(depth):
                _disconnect_last(chain)
            return depth
    note_state(chain, Chain.State.HALTED, "The chains part below every block that we keep.")
    with transaction.atomic():
        freeze(chain, "A reorganization is deeper than we follow.", height=chain.height)
    return 0


def _get_header(node: Node, height: int) -> tuple[str, Mapping[str, Any]]:
    """Return hash and header of a block of the node's best chain.

    :raises CursorMoved: the chain changed while we asked, or is not that high
    """
    block_hash = node.find_block_hash(height)
    header = None if block_hash is None else node.find_block_header(block_hash)
    if block_hash is None or header is None:
        raise CursorMoved
    return block_hash, header


def _estimate_fee_rate(node: Node) -> int:
    """Return what a kilobyte costs, within the network's floor and cap: estimates of nodes are hints, or absent."""
    network = node.network
    said = node.estimate_fee_per_kb(FEE_TARGET_BLOCKS) or network.fee_floor_per_kb
    return min(max(said, network.fee_floor_per_kb), network.fee_cap_per_kb)


def _connect_next(chain: Chain, node: Node) -> None:
    """Read the block behind the cursor.

    :raises CursorMoved: the cursor moved, or the node's chain no longer goes on from it
    """
    height = _height(chain) + 1
    block_hash = node.find_block_hash(height)
    if block_hash is None:
        raise CursorMoved
    block = node.get_block(block_hash)
    if block["previousblockhash"] != chain.block_hash or block["confirmations"] < 1:
        raise CursorMoved
    with transaction.atomic():
        _lock_cursor(chain)
        _read_block(chain, block)
        Block.objects.create(
            chain=chain, height=height, hash=block_hash, chainwork=block["chainwork"]
        )
        Block.objects.filter(chain=chain, height__lte=height - KEPT_BLOCKS).delete()
        _move_cursor(chain, height, block_hash, block["chainwork"])


def _read_block(chain: Chain, block: Mapping[str, Any]) -> None:
    """Write what the block means to us: outputs that pay our addresses, spent outputs, transactions of ours."""
    _note_ours(chain, block)
    _note_outputs(chain, block)
    _note_spent(chain, block)


def _note_outputs(chain: Chain, block: Mapping[str, Any]) -> None:
    # Outputs of Litecoin's extension blocks have no script.
    scripts = {
        output["scriptPubKey"]["hex"]
        for said in block["tx"]
        for output in said["vout"]
        if "scriptPubKey" in output
    }
    addresses = _find_addresses(chain, scripts)
    ours = list(_list_outputs(block, addresses)) if addresses else []
    if not ours:
        return
    _keep_bytes(chain, block, {output.txid for output in ours})
    outpoints = Q()
    for output in ours:
        outpoints |= Q(txid=output.txid, vout=output.vout)
    known = {(row.txid, row.vout): row for row in Output.objects.filter(outpoints, chain=chain)}
    makers = _find_makers(chain, {output.txid for output in ours})
    for output in ours:
        address = addresses[output.script]
        row = known.get((output.txid, output.vout))
        if row is None:
            row = _see(chain, output, address, makers.get(output.txid))
        _place(row, block)


def _see(
    chain: Chain, output: Paying, address: Address, made_by: ChainTransaction | None
) -> Output:
    return Output(
        chain=chain,
        address=address,
        txid=output.txid,
        vout=output.vout,
        amount=output.amount,
        is_coinbase=output.is_coinbase,
        made_by=made_by,
    )


def _place(row: Output, block: Mapping[str, Any]) -> None:
    """Put an output where the block is. What counted before still counts; what was given up is seen again."""
    is_news = row.height is None
    row.height, row.block_hash, row.lost_at = block["height"], block["hash"], None
    if row.status in {Output.Status.ORPHANED, Output.Status.REVERSED}:
        row.status = Output.Status.SEEN
    row.save()
    if is_news and row.status == Output.Status.SEEN and row.address.wallet_id is not None:
        _tell("deposit.detected", row, confirmations=1)


def _note_spent(chain: Chain, block: Mapping[str, Any]) -> None:
    """Mark our outputs that the block spends. A spender that is none of ours has our keys: everything stops."""
    spenders = {
        (spent["txid"], spent["vout"]): said["txid"]
        for said in block["tx"]
        for spent in said["vin"]
        if "txid" in spent
    }
    rows = _find_outputs(chain, spenders)
    makers = _find_makers(chain, {spenders[row.txid, row.vout] for row in rows})
    for row in rows:
        spender = spenders[row.txid, row.vout]
        row.spent_by, row.spent_height = spender, block["height"]
        row.save(update_fields=["spent_by", "spent_height"])
        if spender not in makers:
            freeze(
                chain,
                "An output of ours was spent by a transaction that is not ours.",
                outpoint=str(row),
                spent_by=spender,
                amount=str(row.amount),
            )


def _note_ours(chain: Chain, block: Mapping[str, Any]) -> None:
    txids = [said["txid"] for said in block["tx"]]
    ChainTransaction.objects.filter(chain=chain, txid__in=txids).update(
        height=block["height"], block_hash=block["hash"], lease_until=None
    )


def _disconnect_last(chain: Chain) -> None:
    """Take the block at the cursor back.

    :raises CursorMoved: somebody else did
    """
    with transaction.atomic():
        _lock_cursor(chain)
        before = Block.objects.get(chain=chain, height=_height(chain) - 1)
        _disconnect_above(chain, before.height)
        _move_cursor(chain, before.height, before.hash, before.chainwork)


def _disconnect_above(chain: Chain, height: int) -> None:
    """Write that no block above the height is in the chain."""
    outputs = Output.objects.filter(chain=chain, height__gt=height).select_for_update(of=("self",))
    _lose_outputs(chain, list(outputs.select_related("address__wallet")))
    Output.objects.filter(chain=chain, spent_height__gt=height).update(
        spent_by="", spent_height=None
    )
    ours = ChainTransaction.objects.filter(chain=chain, height__gt=height)
    WithdrawalRequest.objects.filter(
        spend__transactions__in=ours, status=WithdrawalRequest.Status.CONFIRMED
    ).update(status=WithdrawalRequest.Status.BROADCAST, updated_at=Now())
    ours.update(height=None, block_hash="", send_at=None)
    Block.objects.filter(chain=chain, height__gt=height).delete()


def _lose_outputs(chain: Chain, rows: Iterable[Output]) -> None:
    """Write that these outputs are in no block. Those that nobody counted yet are orphans, the others an alarm."""
    for row in rows:
        row.height, row.block_hash, row.lost_at = None, "", chain.height
        if row.made_by_id is not None:
            row.status = Output.Status.SEEN
        elif row.status == Output.Status.SEEN:
            row.status = Output.Status.ORPHANED
            if row.address.wallet_id is not None:
                _tell("deposit.orphaned", row, confirmations=0)
        elif row.status in {Output.Status.CREDITED, Output.Status.KEPT}:
            freeze(
                chain,
                "A deep reorganization took a counted deposit out of the chain.",
                outpoint=str(row),
                amount=str(row.amount),
            )
        row.save()


def _tell(event_type: str, row: Output, *, confirmations: int) -> None:
    wallet = row.address.wallet
    if wallet is not None:
        publish_event(
            event_type=event_type,
            subject=f"wallet:{wallet.uuid}",
            data=describe_deposit(row, wallet, confirmations=confirmations),
        )


def _list_outputs(block: Mapping[str, Any], addresses: Container[str]) -> Iterator[Paying]:
    """Return the outputs of a block that pay one of the scripts."""
    for said in block["tx"]:
        for output in said["vout"]:
            script = output["scriptPubKey"]["hex"] if "scriptPubKey" in output else ""
            if script in addresses and output["value"] > 0:
                is_coinbase = "coinbase" in said["vin"][0]
                yield Paying(said["txid"], output["n"], script, output["value"], is_coinbase)


def _find_addresses(chain: Chain, scripts: set[str]) -> dict[str, Address]:
    """Return those of the scripts that are ours. One statement, one index, however many addresses there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM dj_wallet_custody_address WHERE chain_id = %s AND script = ANY(%s)",
            [chain.pk, list(scripts)],
        )
        found = [row[0] for row in cursor.fetchall()]
    if not found:
        return {}
    rows = Address.objects.filter(pk__in=found).select_related("wallet")
    return {row.script: row for row in rows}


def _find_outputs(chain: Chain, outpoints: Iterable[tuple[str, int]]) -> list[Output]:
    """Return those of the outpoints that are ours, locked. One statement."""
    pairs = list(outpoints)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT o.id FROM unnest(%s::varchar[], %s::integer[]) AS spent (txid, vout)"
            " JOIN dj_wallet_custody_output o"
            " ON o.chain_id = %s AND o.txid = spent.txid AND o.vout = spent.vout",
            [[txid for txid, _ in pairs], [vout for _, vout in pairs], chain.pk],
        )
        found = [row[0] for row in cursor.fetchall()]
    return list(Output.objects.select_for_update().filter(pk__in=found)) if found else []


def _find_makers(chain: Chain, txids: set[str]) -> dict[str | None, ChainTransaction]:
    """Return those of the transactions that are ours."""
    rows = ChainTransaction.objects.filter(chain=chain, txid__in=txids) if txids else ()
    return {row.txid: row for row in rows}


def _keep_bytes(chain: Chain, block: Mapping[str, Any], txids: set[str]) -> None:
    """Keep the transactions that pay us, as bytes that hash to their ids: the signer believes nothing else.

    What cannot be put together again (a part of Litecoin's extension blocks) is credited, and not spent from here.
    """
    rows = []
    for said in block["tx"]:
        if said["txid"] not in txids:
            continue
        try:
            raw = from_node(said).serialize()
        except TransactionInvalid as error:
            logger.error("The bytes of %s cannot be kept: %s", said["txid"], error)
            continue
        rows.append(PreviousTransaction(chain=chain, txid=said["txid"], raw=raw))
    PreviousTransaction.objects.bulk_create(rows, ignore_conflicts=True)


def _lock_cursor(chain: Chain) -> None:
    """Lock the network's row, so that only one scanner writes.

    :raises CursorMoved: the cursor is not where we think
    """
    cursor = Chain.objects.select_for_update().filter(pk=chain.pk)
    if cursor.values_list("block_hash", flat=True).get() != chain.block_hash:
        raise CursorMoved


def _move_cursor(chain: Chain, height: int, block_hash: str, chainwork: str) -> None:
    Chain.objects.filter(pk=chain.pk).update(
        height=height, block_hash=block_hash, chainwork=chainwork
    )
    chain.height, chain.block_hash, chain.chainwork = height, block_hash, chainwork


def _height(chain: Chain) -> int:
    """Return the height of the cursor, which has been set."""
    if chain.height is None:
        raise CursorMoved
    return chain.height
