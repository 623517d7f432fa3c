"""Examples that ship with Podium; `podium example list` shows them, `podium example run` runs them."""
