"""How an execution advances: pure rules (`decide`, `advance`, `evolve`) and the shell that runs them (`runtime`)."""
