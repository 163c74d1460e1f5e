"""The images that run in the cluster, built from this tree; the engine's build cache knows what has not changed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.harness import tools
from e2e.kind import base
from e2e.kind.stages import stage

if TYPE_CHECKING:
    from e2e.kind.engine import Engine

ROOT = Path(__file__).parents[2]
VERSION = version("agentscaler")
OPERATOR = "agentscaler.dev/operator"
AGENT = f"agentscaler.dev/reference-agent:{VERSION}"

# The user is a number: the kubelet cannot tell a name from root.
_PROMETHEUS_DOCKERFILE = """
FROM scratch
COPY prometheus /bin/prometheus
USER 65534:65534
ENTRYPOINT ["/bin/prometheus"]
"""


@dataclass(frozen=True)
class Images:
    """Names of images in the engine.

    Attributes:
        operator: The tag names the content, so that an upgrade to another build rolls the operator.
        agent: The reference agent under the name that the examples use; upstream and load run from it as well.
        prometheus: The pinned Prometheus.
    """

    operator: str
    agent: str
    prometheus: str

    @property
    def operator_tag(self) -> str:
        """Of the operator's image."""
        return self.operator.rpartition(":")[2]


def build(engine: Engine, *, registry: bool) -> Images:
    """Build what has changed.

    Args:
        engine: Where to build.
        registry: Whether base images can be pulled; else they are made first.
    """
    if not registry:
        base.make_python(engine)
    with stage("image of the operator"):
        operator = build_operator(engine, ROOT)
        engine.docker("tag", operator, f"{OPERATOR}:{VERSION}")  # what the chart takes unless told otherwise
    with stage("image of the reference agent"):
        arguments = ("--file", ROOT / "e2e/agents/reference/Dockerfile", "--tag", AGENT)
        engine.docker("build", "--quiet", "--network=host", *arguments, ROOT)
    with stage("image of Prometheus"):
        prometheus = _prometheus(engine)
    return Images(operator=operator, agent=AGENT, prometheus=prometheus)


def build_operator(engine: Engine, tree: Path) -> str:
    """The operator's image of a work tree, this one or an older one; its name, with the content in its tag."""
    answer = engine.docker("build", "--quiet", "--network=host", "--file", tree / "Dockerfile", tree)
    identity = answer.stdout.strip().splitlines()[-1]
    name = f"{OPERATOR}:{VERSION}-{identity.rpartition(':')[2][:12]}"
    engine.docker("tag", identity, name)
    return name


def _prometheus(engine: Engine) -> str:
    binary = tools.ensure("prometheus")["prometheus"]
    name = f"agentscaler.dev/{binary.parent.name.replace('-', ':', 1)}"  # as the cache keys it
    if not engine.has_image(name):
        with tempfile.TemporaryDirectory(prefix="agentscaler-prometheus-") as scratch:
            context = Path(scratch)
            shutil.copy(binary, context / "prometheus")
            (context / "Dockerfile").write_text(_PROMETHEUS_DOCKERFILE)
            engine.docker("build", "--quiet", "--network=host", "--tag", name, context)
    return name
