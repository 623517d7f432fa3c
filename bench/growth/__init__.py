"""How cost grows with size: `python -m bench growth`. The curves are in `docs/performance.md`."""
