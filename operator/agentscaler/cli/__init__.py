"""The command line: `agentscaler`, and `kubectl agentscaler` by kubectl's plugin names."""

from agentscaler.cli.root import app

__all__ = ["app"]
