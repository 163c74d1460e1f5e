"""Agentscaler: an operator that keeps LLM-agent services inside their objectives at the least cost."""

__version__ = "0.1.0"
