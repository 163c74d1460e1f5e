"""Resources of the API server and their URL paths, built and taken apart."""

from __future__ import annotations

from dataclasses import dataclass

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of objects, as its URL names it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of a collection (no name), of an object, or of its subresource; no namespace: all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


AGENT_DEPLOYMENTS = Resource("agentscaler.dev", "v1alpha1", "agentdeployments")
CONFIG_MAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
HORIZONTAL_POD_AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
PODS = Resource("", "v1", "pods")
REPLICA_SETS = Resource("apps", "v1", "replicasets")
SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "scaledobjects")


@dataclass(frozen=True, slots=True)
class Access:
    """What a request asks for, in the words of RBAC."""

    verb: str
    group: str
    resource: str
    """Plural, with its subresource: `deployments/scale`."""
    namespace: str
    """Empty: the whole cluster."""
    name: str = ""

    @property
    def kind(self) -> str:
        """Resource and group: `deployments/scale.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def __str__(self) -> str:
        """`patch deployments/scale.apps in namespace agents`."""
        place = f"in namespace {self.namespace}" if self.namespace else "in the whole cluster"
        return f"{self.verb} {self.kind} {place}"


def access(method: str, path: str) -> Access:
    """Read an HTTP method and a resource path back into what RBAC checks.

    Args:
        method: HTTP method in upper case.
        path: The path, without query.
    """
    verb = VERBS.get(method, method.lower())
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Access(verb, "", path, "")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    if verb == "get" and not name:
        verb = "list"
    return Access(verb, group, f"{resource}/{subresource}" if subresource else resource, namespace, name)
