"""What the act side remembers of one object between two ticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentscaler.api.conditions import Reason
from agentscaler.core.settings import Settings
from agentscaler.kube.errors import Forbidden, KubeError, Refused
from agentscaler.kube.live import ConfigMapFacts, DeploymentFacts, Live


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something could not be written, for a condition. The message holds nothing that changes from tick to tick."""

    reason: Reason
    message: str
    stalled: bool = False
    """Only a person can mend it."""


def problem_of(error: KubeError) -> Problem:
    """What a failed request means to the user of the object."""
    if isinstance(error, Forbidden):
        return Problem(Reason.FORBIDDEN, str(error), stalled=True)
    if isinstance(error, Refused):
        return Problem(Reason.WRITE_FAILED, str(error), stalled=True)
    kind = type(error).__name__
    return Problem(Reason.WRITE_FAILED, f"cannot {error.access} now ({kind}): tried again at the next tick")


NAME_AGAIN_SECONDS = 10.0
"""After finding that a name is taken. Shorter than the pace of blocked objects, so that each look tries it."""
_CACHE_LAG_SECONDS = 15.0
"""For so long at most a LIST from the API server's cache may not show an object that we have just created."""


@dataclass(slots=True)
class Memo:
    """Notes on one object. A restart loses them, and nothing but a repeated write or a short delay may come of that."""

    wanted: Settings | None = None
    """What the last decision set."""
    config_map_version: int = 0
    """resourceVersion of our last write of it."""
    config_map_written_at: float = 0.0
    deployment_version: int = 0
    deployment_written_at: float = 0.0
    tuning: str | None = None
    """`tuning.json` as it was written or accepted last."""
    native: str | None = None
    """The framework's own file, likewise; None: there is none, or it is not known."""
    native_file: str = ""
    """Its name: the file of another framework tells nothing of this one's."""
    tuning_written_at: float = 0.0
    name_taken_at: float = -1e9
    """When the name of the ConfigMap was last found to be somebody else's."""
    waiting_since: float | None = None
    """Since when pods have owed a report of the current generation."""
    delivered: int = 0
    """Generation that every ready pod has reported."""
    freed_at: float = 0.0
    """When the first of two steps was written: less memory now, more with the next."""
    touched_at: float = 0.0
    touches: int = 0
    refused_hash: str = ""
    """Template that the API server refused."""
    refused: Problem | None = None
    retry_at: float = 0.0
    """Before this time what was refused is not tried again."""
    fingerprint: str = ""
    """Of the live template after our last apply."""
    restored_at: float = 0.0
    """When a template was last put back."""
    hold: Problem | None = None
    """Why the pods that the last decision wanted to remove stay."""
    marked: set[str] = field(default_factory=set)
    """Pods that carry a deletion cost of ours."""

    def last_native(self, file: str) -> str | None:
        """The framework's own file as it was written last; None where nothing is known of a file of that name."""
        return self.native if self.native_file == file else None

    def wrote_deployment(self, answer: Mapping[str, Any], now: float) -> None:
        """Note a write of the Deployment or of its `/scale`."""
        self.deployment_version, self.deployment_written_at = _version(answer["metadata"]["resourceVersion"]), now

    def wrote_config_map(self, answer: Mapping[str, Any], now: float) -> None:
        """Note a write of the ConfigMap."""
        self.config_map_version, self.config_map_written_at = _version(answer["metadata"]["resourceVersion"]), now

    def is_ahead_of(self, live: Live, now: float) -> bool:
        """Whether what was read is older than our own last write: nothing may be concluded from it."""
        return _behind(live.deployment, self.deployment_version, now - self.deployment_written_at) or _behind(
            live.configmap, self.config_map_version, now - self.config_map_written_at
        )


def _behind(facts: DeploymentFacts | ConfigMapFacts | None, written: int, age_seconds: float) -> bool:
    if facts is None:
        return written > 0 and age_seconds < _CACHE_LAG_SECONDS
    return _version(facts.resource_version) < written


def _version(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0
