"""Who goes first: queues, resources, placement. Pure: no I/O, no clock, no chance."""
