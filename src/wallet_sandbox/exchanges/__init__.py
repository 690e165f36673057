"""The eight exchanges of seed 002, simulated: their wire APIs as far as deposit addresses, keys and networks need.

Signatures are checked as each venue checks them, so only the right secret opens an account. `python -m
wallet_sandbox.exchanges` serves the venues over TLS, all on one port, told apart by the host that the client asks for; and
on a second port, plain HTTP, a panel where faults are switched on. Answers follow the venues' documentation; none has been
compared with a live exchange.
"""
