"""Every write of exchange accounts, addresses and synchronizations. Exchanges are asked between transactions, in none."""
