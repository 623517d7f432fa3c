"""Agents and a client that know only `docs/protocol.md`: in Python and JavaScript, without Podium. See README.md."""
