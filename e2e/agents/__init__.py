"""Agents to scale, and the model provider that they call."""
