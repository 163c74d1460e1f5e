"""`python -m agentscaler`: the command line."""

from agentscaler.cli import app

if __name__ == "__main__":
    app(prog_name="agentscaler")
