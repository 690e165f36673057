"""The paths of holds and escrows."""

from dj_wallet.rest.routes import either

from . import views

INTERNAL = "api/v1/wallet/internal"

urlpatterns = [
    *either("api/v1/holds", views.HoldsView, "holds"),
    *either("api/v1/holds/<uuid:uuid>", views.HoldView, "hold"),
    *either("api/v1/holds/<uuid:uuid>/release", views.ReleaseHoldView, "release_hold"),
    *either("api/v1/holds/<uuid:uuid>/settle", views.SettleHoldView, "settle_hold"),
    *either("api/v1/holds/<uuid:uuid>/convert", views.ConvertHoldView, "convert_hold"),
    *either("api/v1/escrows", views.EscrowsView, "escrows"),
    *either("api/v1/escrows/<uuid:uuid>", views.EscrowView, "escrow"),
    *either("api/v1/escrows/<uuid:uuid>/release", views.ReleaseEscrowView, "release_escrow"),
    *either("api/v1/escrows/<uuid:uuid>/refund", views.RefundEscrowView, "refund_escrow"),
    *either("api/v1/escrows/<uuid:uuid>/dispute", views.DisputeEscrowView, "dispute_escrow"),
    *either("api/v1/escrows/<uuid:uuid>/resolve", views.ResolveEscrowView, "resolve_escrow"),
    *either(f"{INTERNAL}/lock/", views.LockView, "internal_lock"),
    *either(f"{INTERNAL}/unlock/", views.UnlockView, "internal_unlock"),
    *either(f"{INTERNAL}/pay-order/", views.PayOrderView, "internal_pay_order"),
    *either(
        f"{INTERNAL}/convert-to-escrow/", views.ConvertToEscrowView, "internal_convert_to_escrow"
    ),
    *either(
        f"{INTERNAL}/release-escrow/", views.InternalReleaseEscrowView, "internal_release_escrow"
    ),
    *either(f"{INTERNAL}/refund-escrow/", views.InternalRefundEscrowView, "internal_refund_escrow"),
    *either(
        f"{INTERNAL}/dispute-escrow/", views.InternalDisputeEscrowView, "internal_dispute_escrow"
    ),
    *either(
        f"{INTERNAL}/resolve-escrow/", views.InternalResolveEscrowView, "internal_resolve_escrow"
    ),
]
