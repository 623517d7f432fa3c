"""Agents in processes of their own, for the workloads R1 to R3."""
