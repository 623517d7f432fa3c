"""Podium: one engine that registers agents, gives them work and runs workflows durably."""
