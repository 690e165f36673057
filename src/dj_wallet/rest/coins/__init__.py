"""Seed 000's wallets over REST: one for each user and coin, with its deposit address."""
