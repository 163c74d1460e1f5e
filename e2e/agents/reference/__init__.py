"""The reference agent: an HTTP server on agentscaler-runtime whose work has the measured shape of agent calls."""
