"""Payouts under fire: a hostile bank, and everything that runs killed again and again."""
