"""The orchestrator with its bus, as one object: what it hears, what it tells, and its start and stop in order."""
