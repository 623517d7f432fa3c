"""Schedules: workflows that the clock starts. What fires when is decided in `podium.scheduling`, without I/O."""
