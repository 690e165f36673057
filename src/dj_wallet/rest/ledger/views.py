"""Accounts of the ledger service and what moves between them."""

from typing import Any
from uuid import UUID

from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.ledger.errors import AccountNotFound
from dj_wallet.ledger_service import queries
from dj_wallet.ledger_service.models import MAX_ID_LENGTH
from dj_wallet.ledger_service.services import open_account
from dj_wallet.models import Transaction, Wallet
from dj_wallet.rest import services
from dj_wallet.rest.bodies import show_amount, show_time
from dj_wallet.rest.headers import get_idempotency_key
from dj_wallet.rest.schema import REPLAYED, WITH_BODY, errors, idempotency_key
from dj_wallet.rest.views import ApiView
from dj_wallet.services.common import WalletService
from dj_wallet.services.transfer import build_transfer_request

from . import schemas


class LedgerView(ApiView):
    """What is for other services only."""

    scope = "ledger"
    internal = True


class AccountsView(LedgerView):
    """The accounts of all owners."""

    @extend_schema(
        operation_id="open_account",
        summary="Open an account",
        description="One for each owner and currency: asked for again, it is the one that there is, with 200.",
        request=schemas.LedgerAccountInput,
        responses={
            200: schemas.AccountBody,
            201: schemas.AccountBody,
            **errors(*WITH_BODY),
        },
        tags=["ledger service"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.LedgerAccountInput)
        owner_id = body["external_owner_id"]
        account, is_new = open_account(
            external_owner_id=owner_id, asset=services.get_asset(body.get("currency"))
        )
        return Response(
            show_account(account, owner_id),
            status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
            headers={"Location": reverse("account", args=[account.uuid])},
        )

    @extend_schema(
        operation_id="list_accounts",
        summary="List accounts",
        parameters=[
            OpenApiParameter(
                "external_owner_id", {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
            )
        ],
        responses={200: schemas.AccountBody(many=True), **errors(400)},
        tags=["ledger service"],
    )
    def get(self, request: Request) -> Response:
        asked = schemas.AccountFilter(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        accounts = queries.list_accounts(
            external_owner_id=asked.validated_data.get("external_owner_id")
        )
        page = self.paginate_queryset(accounts) or []
        owner_ids = queries.list_owner_ids(page)
        return self.get_paginated_response(
            [show_account(account, owner_ids[account.pk]) for account in page]
        )


class AccountView(LedgerView):
    """One account."""

    @extend_schema(
        operation_id="get_account",
        summary="Get an account",
        responses={200: schemas.AccountBody, **errors(404)},
        tags=["ledger service"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        account = queries.find_accounts([uuid]).get(uuid)
        if account is None:
            raise Http404
        return Response(show_account(account, queries.list_owner_ids([account])[account.pk]))


class MoneyView(LedgerView):
    """Money that crosses the border of the ledger."""

    def answer(self, request: Request, move: Any) -> Response:
        """Move what the body says and answer with a receipt."""
        key = get_idempotency_key(request)
        body = self.read(schemas.MoneyInput)
        (account,) = get_accounts(body["account_id"])
        record: Transaction = move(
            account, body["amount"], meta=build_meta(body), idempotency_key=key
        )
        (balance,) = queries.list_balances_after(record.entry_id, [account])
        receipt = {
            "transaction_id": str(record.uuid),
            "account_id": str(account.uuid),
            "balance": show_amount(balance, account.decimal_places),
        }
        return answer_created(request, receipt, body, replayed=record.replayed)


class AccountDepositView(MoneyView):
    """Money into an account."""

    @extend_schema(
        operation_id="deposit_into_account",
        summary="Deposit",
        request=schemas.MoneyInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={201: schemas.ReceiptBody, **errors(*WITH_BODY, 409)},
        tags=["ledger service"],
    )
    def post(self, request: Request) -> Response:
        return self.answer(request, WalletService.deposit)


class AccountWithdrawalView(MoneyView):
    """Money out of an account."""

    @extend_schema(
        operation_id="withdraw_from_account",
        summary="Withdraw",
        request=schemas.MoneyInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={201: schemas.ReceiptBody, **errors(*WITH_BODY, 409)},
        tags=["ledger service"],
    )
    def post(self, request: Request) -> Response:
        return self.answer(request, WalletService.withdraw)


class AccountTransferView(LedgerView):
    """Money from one account to another."""

    @extend_schema(
        operation_id="transfer_between_accounts",
        summary="Transfer",
        request=schemas.MoveInput,
        parameters=[idempotency_key(required=True), REPLAYED],
        responses={201: schemas.MoveReceiptBody, **errors(*WITH_BODY, 409)},
        tags=["ledger service"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.MoveInput)
        source, destination = get_accounts(body["from_account_id"], body["to_account_id"])
        transfer = services.transfer(
            build_transfer_request(
                source, destination, body["amount"], build_meta(body), idempotency_key=key
            )
        )
        entry_id = transfer.withdraw.entry_id
        left, received = queries.list_balances_after(entry_id, [source, destination])
        receipt = {
            "transaction_id": str(transfer.uuid),
            "from_account_id": str(source.uuid),
            "to_account_id": str(destination.uuid),
            "from_balance": show_amount(left, source.decimal_places),
            "to_balance": show_amount(received, source.decimal_places),
        }
        return answer_created(request, receipt, body, replayed=transfer.replayed)


def show_account(account: Wallet, owner_id: str) -> dict[str, Any]:
    """Return an account as clients see it."""
    places = account.decimal_places
    return {
        "account_id": str(account.uuid),
        "external_owner_id": owner_id,
        "currency": account.asset_id,
        "balance": show_amount(account.balance, places),
        "locked_balance": show_amount(account.locked_balance, places),
        "pending_balance": show_amount(account.pending_balance, places),
        "is_frozen": account.is_frozen,
        "created_at": show_time(account.created_at),
    }


def get_accounts(*uuids: UUID) -> list[Wallet]:
    """Return the accounts in this order.

    :raises AccountNotFound: one does not exist
    """
    found = queries.find_accounts(uuids)
    if missing := [uuid for uuid in uuids if uuid not in found]:
        raise AccountNotFound(f"There is no account {missing[0]}.")
    return [found[uuid] for uuid in uuids]


def build_meta(body: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept with the movement."""
    return {"reference_id": body["reference_id"], "metadata": body.get("metadata", {})}


def answer_created(
    request: Request, receipt: dict[str, Any], body: dict[str, Any], *, replayed: bool
) -> Response:
    """Return 201 with the receipt, marked if an earlier request with the same key made it."""
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    own = {
        "reference_id": body["reference_id"],
        "idempotency_key": request.META["HTTP_IDEMPOTENCY_KEY"],
    }
    return Response({**receipt, **own}, status.HTTP_201_CREATED, headers=headers)
