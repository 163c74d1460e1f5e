"""Images of the agents of other frameworks, for the scenarios that run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.harness import dotnet, tools
from e2e.kind import base
from e2e.kind.images import ROOT, VERSION
from e2e.kind.stages import stage

if TYPE_CHECKING:
    from e2e.kind.engine import Engine

AGENTFLOW = f"agentscaler.dev/agentflow-agent:{VERSION}"
AGENTGRAPH = f"agentscaler.dev/agentgraph-agent:{VERSION}"
AIECS = f"agentscaler.dev/aiecs-agent:{VERSION}"
DOTNET = {name: f"agentscaler.dev/{name}-agent:{VERSION}" for name in ("aiagentsharp", "genericagents")}


def build_agentflow(engine: Engine) -> str:
    """The AgentFlow agent: the binary of the tools' cache and nothing else. Its name."""
    with stage("image of the AgentFlow agent"):
        return _build_binary(engine, "agentflow", AGENTFLOW)


def build_agentgraph(engine: Engine) -> str:
    """The AgentGraph agent, likewise; its name."""
    with stage("image of the AgentGraph agent"):
        return _build_binary(engine, "agentgraph", AGENTGRAPH)


def _build_binary(engine: Engine, binary: str, name: str) -> str:
    dockerfile = ROOT / "e2e/agents" / binary / "Dockerfile"
    context = tools.ensure(binary)[binary].parent
    engine.docker("build", "--quiet", "--file", dockerfile, "--tag", name, context)
    return name


def build_aiecs(engine: Engine, *, registry: bool) -> str:
    """The AIECS agent; its name.

    Args:
        engine: Where to build.
        registry: Whether base images can be pulled; else they are made first.
    """
    if not registry:
        base.make_python(engine)
    with stage("image of the AIECS agent"):
        arguments = ("--file", ROOT / "e2e/agents/aiecs/Dockerfile", "--tag", AIECS)
        engine.docker("build", "--quiet", "--network=host", *arguments, ROOT)
    return AIECS


def build_dotnet(engine: Engine, framework: str, *, registry: bool) -> str:
    """An agent in C#: Debian's Mono and the compiled program. Its name.

    Args:
        engine: Where to build.
        framework: ``aiagentsharp`` or ``genericagents``.
        registry: Whether base images can be pulled; else they are made first.
    """
    if not registry:
        base.make_debian(engine)
    with stage(f"image of the {framework} agent"):
        program = dotnet.ensure_agent(framework)
        packages = f"PACKAGES={' '.join(dotnet.RUNTIME_PACKAGES)}"
        arguments = ("--build-arg", packages, "--build-arg", f"TITLE={framework}", "--tag", DOTNET[framework])
        dockerfile = ROOT / "e2e/agents/dotnet/Dockerfile"
        engine.docker("build", "--quiet", "--network=host", "--file", dockerfile, *arguments, program.parent)
    return DOTNET[framework]
