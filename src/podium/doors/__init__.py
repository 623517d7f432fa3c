"""The ways in: HTTP, and what will follow it."""
