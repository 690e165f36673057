"""Adapters: one module for each kind of bank."""
