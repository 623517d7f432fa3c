"""When a workflow shall be started: what people write, and the times that follow from it. No clock is asked."""
