"""How agents and orchestrator talk: subjects carry messages; one module a transport, twins of each other."""
