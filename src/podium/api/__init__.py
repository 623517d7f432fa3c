"""The Python API: `run`, and the classes of the documents over the one engine."""
