"""Money on its way to a bank account: withdrawals that are scheduled, held, sent and settled (seed 004)."""
