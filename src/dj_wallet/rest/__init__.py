"""The wallets over HTTP: parse, one service call, render."""
