"""Coins over HTTP: seed 001's paths of balance, deposit address, withdrawal and history, and what operators need."""
