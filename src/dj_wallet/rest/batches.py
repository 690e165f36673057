"""Batches: from the items of a request to movements, and from their outcomes to results. Three queries and a post."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from dj_wallet.identity.models import User
from dj_wallet.ledger.engine import Kind
from dj_wallet.ledger.errors import AccountNotFound, OutcomeUnknown, WalletException
from dj_wallet.models import Transfer, Wallet
from dj_wallet.services.movements import OUTSIDE, Record, Request
from dj_wallet.services.transfer import build_transfer_request

from .bodies import show_deposit, show_transfer
from .errors import describe_refusal
from .headers import scope_key
from .queries import find_wallets, is_held_by, load_sides
from .services import move_each

Result = dict[str, Any]


def move_items(user: User, items: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Make each movement on its own; return what became of it, in order.

    :raises OutcomeUnknown: the database did not confirm the commit
    """
    wallets = find_wallets(item[side] for item in items for side in ("from", "to") if side in item)
    requests = [_build_request(user, item, wallets) for item in items]
    sound = [request for request in requests if isinstance(request, Request)]
    outcomes = iter(move_each(sound) if sound else [])
    pairs = [
        (request, next(outcomes) if isinstance(request, Request) else request)
        for request in requests
    ]
    return _show(pairs)


def _build_request(
    user: User, item: Mapping[str, Any], wallets: Mapping[Any, Wallet]
) -> Request | WalletException:
    key = scope_key(user, item["idempotency_key"])
    source, destination = wallets.get(item.get("from")), wallets.get(item["to"])
    paying = destination if item["type"] == "deposit" else source
    if paying is None or not is_held_by(paying, user):
        return AccountNotFound("You have no such wallet.")
    if destination is None:
        return AccountNotFound("There is no wallet to pay to.")
    if item["type"] == "deposit":
        return Request(Kind.DEPOSIT, OUTSIDE, destination, item["amount"], item.get("meta"), key)
    return build_transfer_request(
        paying, destination, item["amount"], item.get("meta"), idempotency_key=key
    )


def _show(pairs: Sequence[tuple[Request | WalletException, Record | Exception]]) -> list[Result]:
    replayed = [one for _, one in pairs if isinstance(one, Transfer) and one.replayed]
    loaded = load_sides(replayed)
    return [_show_one(request, outcome, loaded) for request, outcome in pairs]


def _show_one(
    request: Request | WalletException,
    outcome: Record | Exception,
    loaded: Mapping[int, Transfer],
) -> Result:
    if isinstance(outcome, WalletException) and not isinstance(outcome, OutcomeUnknown):
        problem = describe_refusal(outcome)
        return {"status": "refused", "error": {"code": problem.code, "message": problem.message}}
    if isinstance(outcome, Exception):
        raise outcome
    status = "replayed" if outcome.replayed else "posted"
    if isinstance(outcome, Transfer):
        return {"status": status, "transfer": show_transfer(loaded.get(outcome.pk, outcome))}
    return {"status": status, "transaction": show_deposit(outcome, _get_destination(request))}


def _get_destination(request: Request | WalletException) -> Wallet:
    return cast(Wallet, cast(Request, request).destination)
