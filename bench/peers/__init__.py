"""Podium and its peers side by side: `python -m bench --peers`. What each does, and figures: `docs/benchmarks.md`."""
