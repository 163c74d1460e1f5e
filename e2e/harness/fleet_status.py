"""The pod status that the fleet reports where the process tells another story than kwok."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from e2e.harness.fleet_pod import Pod


@dataclass(frozen=True)
class Exit:
    """How a process ended by itself."""

    code: int
    out_of_memory: bool
    at: str
    """As in a status."""


@dataclass(frozen=True)
class Condition:
    """What a kubelet would say of the container."""

    ready: bool
    restarts: int = 0
    waiting: str = ""
    """Why no process runs; empty while one does."""
    last_exit: Exit | None = None


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status_patch(pod: Pod, condition: Condition) -> dict[str, Any]:
    """A strategic merge patch of the pod's status."""
    now = timestamp()
    status = "True" if condition.ready else "False"
    container: dict[str, Any] = {
        "name": pod.container.name,
        "image": pod.container.image,
        "imageID": "",
        "ready": condition.ready,
        "restartCount": condition.restarts,
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": condition.waiting}}
        if condition.waiting
        else {"running": {"startedAt": now}},
    }
    if condition.last_exit is not None:
        reason = "OOMKilled" if condition.last_exit.out_of_memory else "Error"
        container["lastState"] = {
            "terminated": {"exitCode": condition.last_exit.code, "reason": reason, "finishedAt": condition.last_exit.at}
        }
    reasons = {} if condition.ready else {"reason": "ContainersNotReady"}
    return {
        "metadata": {"uid": pod.uid},  # makes the patch miss (409) a later pod of the same name
        "status": {
            "conditions": [
                {"type": kind, "status": status, "lastTransitionTime": now, **reasons}
                for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [container],
        },
    }
