"""Fresh looks at single things, only while something is being written."""

from __future__ import annotations

from agentscaler.kube.api import KubeApi
from agentscaler.kube.live import DeploymentFacts, PodFacts
from agentscaler.kube.paths import PODS
from agentscaler.kube.pods import pod_of


async def pods_of(api: KubeApi, facts: DeploymentFacts) -> tuple[PodFacts, ...]:
    """The pods of a Deployment right now, without those that have ended for good.

    Raises:
        KubeError: They cannot be read.
    """
    found = await api.list(PODS.path(facts.namespace), label_selector=facts.selector, resource_version="", keep=pod_of)
    return tuple(pod for key, pod in found if key == (facts.namespace, facts.name))
