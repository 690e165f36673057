"""Seed 002's paths: exchange accounts, deposit addresses, synchronizations, and what operators see of all."""
