"""Holds, escrows, and the internal paths of seed 001. Each view parses, makes one service call and renders.

A lock that its owner could lift would lock nothing: whatever changes a hold or an escrow is for our own services.
"""

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.custody.served import find_first_coin
from dj_wallet.custody.services.users import open_served_wallet
from dj_wallet.hold_models import Escrow, Hold
from dj_wallet.rest.errors import IdempotencyKeyRequired
from dj_wallet.rest.headers import find_idempotency_key, get_idempotency_key, scope_key
from dj_wallet.rest.schema import REPLAYED, WITH_BODY, errors, idempotency_key
from dj_wallet.rest.views import ApiView, created
from dj_wallet.services import escrow as escrows
from dj_wallet.services import holds

from . import queries, schemas
from .bodies import explain, show_escrow, show_hold, show_lock

HEADERS = [idempotency_key(required=True), REPLAYED]
OPTIONAL_HEADERS = [idempotency_key(required=False), REPLAYED]
STATUS = OpenApiParameter("status", str, description="Only those in this state.")


class LockedMoneyView(ApiView):
    """Owners read; our own services read all and write."""

    scope = "holds"

    @classmethod
    def is_internal_for(cls, method: str) -> bool:
        return cls.internal or method == "POST"

    def read_status(self, statuses: list[str]) -> str | None:
        """Return the state that the list is to be limited to.

        :raises ValidationError: there is no such state
        """
        status = self.request.query_params.get("status")
        if status is not None and status.upper() not in statuses:
            raise ValidationError({"status": [f"Must be one of {', '.join(statuses)}."]})
        return status and status.upper()


class HoldsView(LockedMoneyView):
    """What is held in wallets."""

    @extend_schema(
        operation_id="create_hold",
        summary="Hold money of a wallet for a reference",
        description="A second hold for the same reference is added to the first. Needs the scope `internal`.",
        request=schemas.HoldInput,
        parameters=HEADERS,
        responses={201: schemas.HoldBody, **errors(*WITH_BODY, 403, 409)},
        tags=["holds"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.HoldInput)
        [wallet] = queries.get_any_wallets(body.pop("wallet"))
        mode = body.pop("mode", "add")
        hold = holds.place_hold(wallet=wallet, is_total=mode == "set", idempotency_key=key, **body)
        location = reverse("hold", args=[hold.uuid])
        return created(show_hold(hold), replayed=hold.replayed, location=location)

    @extend_schema(
        operation_id="list_holds",
        summary="List holds",
        parameters=[STATUS],
        responses={200: schemas.HoldBody(many=True), **errors(400)},
        tags=["holds"],
    )
    def get(self, request: Request) -> Response:
        found = queries.list_holds(self.user, sees_all=self.reads_all)
        if status := self.read_status(schemas.HOLD_STATUSES):
            found = found.filter(status=status.lower())
        page = self.paginate_queryset(found)
        return self.get_paginated_response([show_hold(hold) for hold in page or []])


class HoldView(LockedMoneyView):
    """One hold."""

    @extend_schema(
        operation_id="get_hold",
        summary="Get a hold with every change of it",
        responses={200: schemas.ExplainedHoldBody, **errors(404)},
        tags=["holds"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        return Response(explain(queries.get_hold(self.user, uuid, sees_all=self.reads_all)))


class HoldStepView(LockedMoneyView):
    """A change of one hold."""

    internal = True

    def get_hold(self, uuid: UUID) -> Hold:
        return queries.get_hold(self.user, uuid, sees_all=self.reads_all)


class ReleaseHoldView(HoldStepView):
    """Money back to its wallet."""

    @extend_schema(
        operation_id="release_hold",
        summary="Release a hold, or a part of it",
        request=schemas.ReleaseInput,
        parameters=HEADERS,
        responses={200: schemas.HoldBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["holds"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.ReleaseInput)
        hold = holds.release_hold(self.get_hold(uuid), idempotency_key=key, **body)
        return done(show_hold(hold), hold)


class SettleHoldView(HoldStepView):
    """Held money to another wallet."""

    @extend_schema(
        operation_id="settle_hold",
        summary="Pay a hold, or a part of it, to another wallet",
        request=schemas.SettleInput,
        parameters=HEADERS,
        responses={200: schemas.HoldBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["holds"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.SettleInput)
        [to] = queries.get_any_wallets(body.pop("to"))
        hold = holds.settle_hold(self.get_hold(uuid), to=to, idempotency_key=key, **body)
        return done(show_hold(hold), hold)


class ConvertHoldView(HoldStepView):
    """Held money into escrow."""

    @extend_schema(
        operation_id="convert_hold",
        summary="Turn a hold into the escrow of an order",
        request=schemas.ConvertInput,
        parameters=HEADERS,
        responses={201: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["holds"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.ConvertInput)
        [seller] = queries.get_any_wallets(body.pop("seller"))
        escrow = escrows.convert_hold(
            self.get_hold(uuid), seller=seller, idempotency_key=key, **body
        )
        return opened(escrow)


class EscrowsView(LockedMoneyView):
    """Money kept for orders."""

    @extend_schema(
        operation_id="create_escrow",
        summary="Pay an order into escrow",
        description="An order has one escrow: the same request again answers with it. Needs the scope `internal`.",
        request=schemas.EscrowInput,
        parameters=HEADERS,
        responses={201: schemas.EscrowBody, **errors(*WITH_BODY, 403, 409)},
        tags=["escrows"],
    )
    def post(self, request: Request) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.EscrowInput)
        buyer, seller = queries.get_any_wallets(body.pop("buyer"), body.pop("seller"))
        return opened(escrows.open_escrow(buyer=buyer, seller=seller, idempotency_key=key, **body))

    @extend_schema(
        operation_id="list_escrows",
        summary="List escrows paid and received",
        parameters=[STATUS],
        responses={200: schemas.EscrowBody(many=True), **errors(400)},
        tags=["escrows"],
    )
    def get(self, request: Request) -> Response:
        found = queries.list_escrows(self.user, sees_all=self.reads_all)
        if status := self.read_status(schemas.ESCROW_STATUSES):
            found = found.filter(status=status)
        page = self.paginate_queryset(found)
        return self.get_paginated_response([show_escrow(escrow) for escrow in page or []])


class EscrowView(LockedMoneyView):
    """One escrow."""

    @extend_schema(
        operation_id="get_escrow",
        summary="Get an escrow",
        responses={200: schemas.EscrowBody, **errors(404)},
        tags=["escrows"],
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        escrow = queries.get_escrow(self.user, uuid, sees_all=self.reads_all)
        return Response(show_escrow(escrow))


class EscrowStepView(LockedMoneyView):
    """A change of one escrow."""

    internal = True

    def get_escrow(self, uuid: UUID) -> Escrow:
        return queries.get_escrow(self.user, uuid, sees_all=self.reads_all)


class ReleaseEscrowView(EscrowStepView):
    """Money to the seller."""

    @extend_schema(
        operation_id="release_escrow",
        summary="Pay the seller",
        request=schemas.ReasonInput,
        parameters=HEADERS,
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["escrows"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.ReasonInput)
        escrow = escrows.release_escrow(self.get_escrow(uuid), idempotency_key=key, **body)
        return done(show_escrow(escrow), escrow)


class RefundEscrowView(EscrowStepView):
    """Money back to the buyer."""

    @extend_schema(
        operation_id="refund_escrow",
        summary="Give the buyer everything back",
        request=schemas.ReasonInput,
        parameters=HEADERS,
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["escrows"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.ReasonInput)
        escrow = escrows.refund_escrow(self.get_escrow(uuid), idempotency_key=key, **body)
        return done(show_escrow(escrow), escrow)


class DisputeEscrowView(EscrowStepView):
    """A dispute, which moves nothing."""

    @extend_schema(
        operation_id="dispute_escrow",
        summary="Stop an escrow until it is resolved",
        request=schemas.ReasonInput,
        parameters=[REPLAYED],
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["escrows"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        body = self.read(schemas.ReasonInput)
        escrow = escrows.dispute_escrow(self.get_escrow(uuid), **body)
        return done(show_escrow(escrow), escrow)


class ResolveEscrowView(EscrowStepView):
    """The end of a dispute."""

    @extend_schema(
        operation_id="resolve_escrow",
        summary="Divide the money between seller and buyer",
        request=schemas.SplitInput,
        parameters=HEADERS,
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["escrows"],
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        key = get_idempotency_key(request)
        body = self.read(schemas.SplitInput)
        escrow = escrows.resolve_escrow(self.get_escrow(uuid), idempotency_key=key, **body)
        return done(show_escrow(escrow), escrow)


# The internal paths of seed 001


class InternalView(ApiView):
    """A path for our own services, which speak of users instead of wallets."""

    scope = "holds"
    internal = True

    def take_key(self, body: dict[str, Any]) -> str:
        """Return the key of the request, from its header or its body.

        :raises IdempotencyKeyRequired: there is none
        :raises ValidationError: there are two
        """
        key = find_idempotency_key(self.request)
        given: str | None = body.pop("idempotency_key", None)
        named = None if given is None else scope_key(self.user, given)
        if key is None and named is None:
            raise IdempotencyKeyRequired
        if None not in (key, named) and key != named:
            raise ValidationError({"idempotency_key": ["Differs from the header."]})
        return key or named or ""

    def read_with_coin(self, schema: type[schemas.InternalInput]) -> dict[str, Any]:
        """Return the body. Where it names no coin, the first that custody serves is meant, as everywhere in seed 001; a
        seller gets a wallet of it.
        """
        body = self.read(schema)
        coin = body.get("coin") or find_first_coin()
        if "seller_id" in body and coin is not None:
            open_served_wallet(user_id=body["seller_id"], asset=coin)
        return {**body, "coin": coin}

    def find_escrow(self, body: dict[str, Any]) -> Escrow:
        """Return the escrow that the body names.

        :raises EscrowNotFound: there is none
        """
        return escrows.get_escrow(
            uuid=body.pop("escrow_id", None), order_id=body.pop("order_id", None)
        )


class LockView(InternalView):
    """Funds locked for a bid."""

    @extend_schema(
        operation_id="internal_lock",
        summary="Lock funds of a user for a bid",
        request=schemas.LockInput,
        parameters=OPTIONAL_HEADERS,
        responses={201: schemas.LockBody, **errors(*WITH_BODY, 403, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read_with_coin(schemas.LockInput)
        key = self.take_key(body)
        mode = body.pop("mode", "add")
        hold = holds.lock_funds(**body, is_total=mode == "set", idempotency_key=key)
        location = reverse("hold", args=[hold.uuid])
        return created(show_lock(hold), replayed=hold.replayed, location=location)


class UnlockView(InternalView):
    """Funds unlocked, as when outbid."""

    @extend_schema(
        operation_id="internal_unlock",
        summary="Unlock funds of a user",
        request=schemas.UnlockInput,
        parameters=OPTIONAL_HEADERS,
        responses={200: schemas.LockBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read_with_coin(schemas.UnlockInput)
        key = self.take_key(body)
        hold = holds.unlock_funds(amount=body.pop("amount", None), **body, idempotency_key=key)
        return done(show_lock(hold), hold)


class PayOrderView(InternalView):
    """An order paid at once."""

    @extend_schema(
        operation_id="internal_pay_order",
        summary="Pay an order of a user into escrow",
        request=schemas.PayOrderInput,
        parameters=OPTIONAL_HEADERS,
        responses={201: schemas.EscrowBody, **errors(*WITH_BODY, 403, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read_with_coin(schemas.PayOrderInput)
        key = self.take_key(body)
        return opened(escrows.pay_order(**body, idempotency_key=key))


class ConvertToEscrowView(InternalView):
    """A won auction."""

    @extend_schema(
        operation_id="internal_convert_to_escrow",
        summary="Turn a lock into the escrow of an order",
        description="What is locked beyond the amount is unlocked, unless `keep_remainder` is true.",
        request=schemas.ConvertToEscrowInput,
        parameters=OPTIONAL_HEADERS,
        responses={201: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read_with_coin(schemas.ConvertToEscrowInput)
        key = self.take_key(body)
        return opened(escrows.convert_to_escrow(**body, idempotency_key=key))


class InternalReleaseEscrowView(InternalView):
    """Money to the seller."""

    @extend_schema(
        operation_id="internal_release_escrow",
        summary="Release an escrow to the seller",
        request=schemas.EndEscrowInput,
        parameters=OPTIONAL_HEADERS,
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.EndEscrowInput)
        key = self.take_key(body)
        escrow = escrows.release_escrow(self.find_escrow(body), idempotency_key=key, **body)
        return done(show_escrow(escrow), escrow)


class InternalRefundEscrowView(InternalView):
    """Money back to the buyer."""

    @extend_schema(
        operation_id="internal_refund_escrow",
        summary="Refund an escrow to the buyer",
        request=schemas.EndEscrowInput,
        parameters=OPTIONAL_HEADERS,
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.EndEscrowInput)
        key = self.take_key(body)
        escrow = escrows.refund_escrow(self.find_escrow(body), idempotency_key=key, **body)
        return done(show_escrow(escrow), escrow)


class InternalDisputeEscrowView(InternalView):
    """A dispute, which moves nothing: a repeated one finds it disputed, with or without a key."""

    @extend_schema(
        operation_id="internal_dispute_escrow",
        summary="Stop an escrow until it is resolved",
        request=schemas.EndEscrowInput,
        parameters=[REPLAYED],
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.EndEscrowInput)
        body.pop("idempotency_key", None)
        escrow = escrows.dispute_escrow(self.find_escrow(body), **body)
        return done(show_escrow(escrow), escrow)


class InternalResolveEscrowView(InternalView):
    """The end of a dispute."""

    @extend_schema(
        operation_id="internal_resolve_escrow",
        summary="Divide the money of a disputed escrow",
        request=schemas.ResolveEscrowInput,
        parameters=OPTIONAL_HEADERS,
        responses={200: schemas.EscrowBody, **errors(*WITH_BODY, 403, 404, 409)},
        tags=["internal"],
    )
    def post(self, request: Request) -> Response:
        body = self.read(schemas.ResolveEscrowInput)
        key = self.take_key(body)
        escrow = escrows.resolve_escrow(self.find_escrow(body), idempotency_key=key, **body)
        return done(show_escrow(escrow), escrow)


def opened(escrow: Escrow) -> Response:
    """Return 201 with an escrow, marked if an earlier request opened it."""
    location = reverse("escrow", args=[escrow.uuid])
    return created(show_escrow(escrow), replayed=escrow.replayed, location=location)


def done(body: dict[str, Any], record: Hold | Escrow) -> Response:
    """Return 200 with the body, marked if an earlier request did it."""
    headers = {"Idempotent-Replayed": "true"} if record.replayed else {}
    return Response(body, headers=headers)
