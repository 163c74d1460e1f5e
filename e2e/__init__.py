"""What runs the real parts: the harness, agents, the demo and scenarios on kind."""
