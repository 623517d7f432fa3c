"""Who can do the work: agents, what they are able to do, and the messages that go between them and Podium."""
