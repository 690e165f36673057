"""The paths of payouts."""

from dj_wallet.rest.routes import either

from .views import (
    PayoutCancellationView,
    PayoutsView,
    PayoutUploadsView,
    PayoutView,
    RecurringPayoutCancellationView,
    RecurringPayoutsView,
    RecurringPayoutView,
    ReportsView,
)

urlpatterns = [
    *either("api/v1/payouts", PayoutsView, "payouts"),
    *either("api/v1/payouts/uploads", PayoutUploadsView, "payout-uploads"),
    *either("api/v1/payouts/reports/<slug:bank>", ReportsView, "payout-reports"),
    *either("api/v1/payouts/<uuid:uuid>", PayoutView, "payout"),
    *either("api/v1/payouts/<uuid:uuid>/cancel", PayoutCancellationView, "payout-cancel"),
    *either("api/v1/recurring-payouts", RecurringPayoutsView, "recurring-payouts"),
    *either("api/v1/recurring-payouts/<uuid:uuid>", RecurringPayoutView, "recurring-payout"),
    *either(
        "api/v1/recurring-payouts/<uuid:uuid>/cancel",
        RecurringPayoutCancellationView,
        "recurring-payout-cancel",
    ),
]
