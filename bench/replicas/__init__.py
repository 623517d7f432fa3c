"""The processes of P2 to P6: servers of PostgreSQL and NATS, replicas as `podium up` starts them, agents, a client."""
