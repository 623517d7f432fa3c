"""A workflow on virtual time: the real engine and placement, agents that only let the time pass that a task takes."""
