"""Webhooks: executions' ends told to other people's servers, signed, at least once."""
