"""The command line: one module a command group, loaded when its command is called. `main` is the console script."""
