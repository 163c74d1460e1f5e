"""Every framework preset, by the name that `spec.framework` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agentscaler.frameworks import agentflow, aiecs, generic
from agentscaler.frameworks.preset import Preset

PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset for preset in (generic.PRESET, aiecs.PRESET, agentflow.PRESET)
}
