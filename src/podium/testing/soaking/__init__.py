"""A long run under faults: real replicas, agents and servers, a load whose right answers are known, and the oracle.

`python -m podium.testing.soaking --minutes 60`, or `make soak MINUTES=60`. What is under load are processes, not parts:
`podium up` three times on PostgreSQL and NATS, ten agents, and one that was written from the protocol's page.
"""
