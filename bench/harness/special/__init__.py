"""Scenarios that are no rounds: each starts what it needs, does something to it, and gives tables."""

from . import changes, faults, idle, scripts, soak, start, swaps

SPECIAL = (*start.SPECIAL, *idle.SPECIAL, *scripts.SPECIAL, *changes.SPECIAL, *swaps.SPECIAL, *faults.SPECIAL, *soak.SPECIAL)
