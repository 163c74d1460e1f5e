"""What a chart leaves in a cluster, and a CRD that is older than the chart's."""

from __future__ import annotations

from agentscaler.api import crd
from agentscaler.kube.paths import CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from tests.component.helm import RELEASE, Json

CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd.NAME}"
MADE = "serviceaccounts,configmaps,roles,rolebindings,services,deployments,secrets"


def made_in(cluster: ControlPlane, namespace: str) -> list[str]:
    """All that a release could have left in a namespace."""
    names = cluster.kubectl("get", MADE, "--namespace", namespace, "--output=name").stdout.split()
    return [name for name in names if name not in {"serviceaccount/default", "configmap/kube-root-ca.crt"}]


def agent(namespace: str) -> Json:
    container = {"name": "agent", "image": "agent:1"}
    return {
        "apiVersion": crd.API_VERSION,
        "kind": crd.KIND,
        "metadata": {"name": "researcher", "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def older() -> Json:
    """The CRD of a version that did not know `spec.paused`, and a cache without a TTL."""
    manifest = crd.render()
    parts = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del parts["spec"]["properties"]["paused"]
    del parts["status"]["properties"]["settings"]["properties"]["cache"]["properties"]["ttlSeconds"]
    return manifest


def knows_paused(cluster: ControlPlane) -> bool:
    schema = cluster.get(CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return "paused" in schema["properties"]["spec"]["properties"]


def config(cluster: ControlPlane, namespace: str) -> str:
    data = cluster.get(CONFIG_MAPS.path(namespace, RELEASE))["data"]
    return str(data["operator.yaml"])


def restarts(cluster: ControlPlane, namespace: str) -> int:
    """How often the pods of the operator were replaced."""
    annotations = cluster.get(DEPLOYMENTS.path(namespace, RELEASE))["metadata"]["annotations"]
    return int(annotations["deployment.kubernetes.io/revision"]) - 1
