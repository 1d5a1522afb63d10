"""Faults of the system, injected one at a time: see `__main__` and docs/promises.md."""
