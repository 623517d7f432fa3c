"""What Podium's own tests are built of, published for whoever writes an adapter: conformance suites and their tools."""
