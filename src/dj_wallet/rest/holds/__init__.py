"""Holds and escrows over HTTP: their owners read them, our services write them."""
