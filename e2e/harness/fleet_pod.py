"""What the fleet reads of a pod: one frozen value, parsed from the API's JSON."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROCESS_LABEL = "agentscaler.dev/process"
DRAINED_ANNOTATION = "agentscaler.dev/drained"
SETTINGS_PATH = "/etc/agentscaler"
DEFAULT_COMMAND = (
    *("python", "-m", "e2e.agents.reference", "--port", "$(PORT)"),
    *("--settings-dir", "$(SETTINGS_DIR)", "--upstream", "$(UPSTREAM_URL)"),
)
_MEMORY_ARGUMENTS = ("--memory-limit-bytes", "$(MEMORY_LIMIT_BYTES)")
_DEFAULT_GRACE_SECONDS = 30.0
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_FACTORS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class UnsupportedPodError(ValueError):
    """The pod asks for something that the fleet cannot play; the text says what."""


def bytes_of(quantity: str) -> int:
    """The bytes that a Kubernetes quantity stands for."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise UnsupportedPodError(f"quantity {quantity!r} is not understood")
    number, suffix = match.groups()
    return int(float(number) * _FACTORS.get(suffix, 1))


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `$(NAME)` replaced as the kubelet does: unknown names stay, `$$` is a dollar."""

    def one(match: re.Match[str]) -> str:
        return "$" if match[1] is None else variables.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def relocate(text: str, directories: Mapping[str, str]) -> str:
    """`text` with the container's mount paths replaced by the real directories.

    A process here shares the machine's file system, so a path that the manifest mounts exists elsewhere only.
    """
    for path, directory in directories.items():
        text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?=[/:,]|$)", directory, text)
    return text


@dataclass(frozen=True)
class ConfigMapMount:
    """A volume of the pod that shows a ConfigMap as a directory."""

    volume: str
    config_map: str
    optional: bool
    path: str
    """Where the container expects it; empty where no container mounts it."""
    items: tuple[tuple[str, str], ...] = ()
    """Pairs of key and file name; empty: every key under its own name."""


@dataclass(frozen=True)
class Container:
    """The one container of the pod that runs as a process."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    memory_limit_bytes: int | None
    readiness_path: str
    pre_stop_seconds: float

    def variables(self, given: Mapping[str, str], directories: Mapping[str, str]) -> dict[str, str]:
        """The environment: what is given, then the container's own, which may refer to what comes before."""
        found = dict(given)
        for name, value in self.env:
            found[name] = relocate(expand(value, found), directories)
        return found

    def argv(self, variables: Mapping[str, str], directories: Mapping[str, str]) -> tuple[str, ...]:
        """The command line; a container without a command runs the reference agent."""
        command = self.command
        if not command:
            command = DEFAULT_COMMAND + (_MEMORY_ARGUMENTS if self.memory_limit_bytes is not None else ())
        return tuple(relocate(expand(word, variables), directories) for word in command + self.args)


@dataclass(frozen=True)
class Pod:
    """A pod at one resourceVersion."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    assigned: bool
    running: bool
    finished: bool
    ready: bool
    deleting: bool
    grace_seconds: float
    container: Container
    mounts: tuple[ConfigMapMount, ...]

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def belongs_to(self, name: str) -> bool:
        """Whether the pod's name says that it is of the Deployment `name`."""
        return re.fullmatch(re.escape(name) + r"-[a-z0-9]+-[a-z0-9]{5}", self.name) is not None


def parse_pod(raw: Mapping[str, Any]) -> Pod:
    """The pod in `raw`.

    Raises:
        UnsupportedPodError: A part of it cannot be played here.
    """
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status", {})
    annotations = metadata.get("annotations") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    wanted = annotations.get("kubectl.kubernetes.io/default-container")
    container = next((c for c in spec["containers"] if c["name"] == wanted), spec["containers"][0])
    return Pod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        annotations=annotations,
        assigned=bool(spec.get("nodeName")),
        running=status.get("phase") == "Running",
        finished=status.get("phase") in {"Succeeded", "Failed"},
        ready=conditions.get("Ready") == "True",
        deleting="deletionTimestamp" in metadata,
        grace_seconds=float(metadata.get("deletionGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)),
        container=_container(container, metadata),
        mounts=tuple(_mounts(spec, container)),
    )


def _container(raw: Mapping[str, Any], metadata: Mapping[str, Any]) -> Container:
    limit = raw.get("resources", {}).get("limits", {}).get("memory")
    probe = raw.get("readinessProbe", {}).get("httpGet", {})
    pre_stop = raw.get("lifecycle", {}).get("preStop", {})
    if pre_stop and "sleep" not in pre_stop:
        raise UnsupportedPodError("of preStop only sleep is played")
    return Container(
        name=raw["name"],
        image=raw.get("image", ""),
        command=tuple(raw.get("command") or ()),
        args=tuple(raw.get("args") or ()),
        env=tuple((entry["name"], _env_value(entry, metadata)) for entry in raw.get("env") or ()),
        memory_limit_bytes=None if limit is None else bytes_of(str(limit)),
        readiness_path=probe.get("path", "/readyz"),
        pre_stop_seconds=float(pre_stop.get("sleep", {}).get("seconds", 0)),
    )


def _env_value(entry: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    if "valueFrom" not in entry:
        return str(entry.get("value", ""))
    path = entry["valueFrom"].get("fieldRef", {}).get("fieldPath")
    if path not in {"metadata.name", "metadata.namespace", "metadata.uid"}:
        raise UnsupportedPodError(f"env {entry['name']}: valueFrom is played for metadata.name, namespace and uid only")
    return str(metadata[path.removeprefix("metadata.")])


def _mounts(spec: Mapping[str, Any], container: Mapping[str, Any]) -> list[ConfigMapMount]:
    paths = {m["name"]: m["mountPath"] for m in container.get("volumeMounts") or ()}
    return [
        ConfigMapMount(
            volume=volume["name"],
            config_map=volume["configMap"]["name"],
            optional=volume["configMap"].get("optional", False),
            path=paths.get(volume["name"], ""),
            items=tuple((item["key"], item["path"]) for item in volume["configMap"].get("items") or ()),
        )
        for volume in spec.get("volumes") or ()
        if "configMap" in volume
    ]
