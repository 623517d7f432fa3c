"""The SDK that an agent is written with, the hosts that run agents in a process, and the ready-made agents."""
