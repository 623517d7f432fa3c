"""Podium's benchmarks: `python -m bench`. What each measures, and the figures, are in `docs/benchmarks.md`."""
