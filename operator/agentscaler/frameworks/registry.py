"""Every framework preset, by the name that `spec.framework` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agentscaler.frameworks import agentflow, agentgraph, aiagentsharp, aiecs, generic, genericagents
from agentscaler.frameworks.preset import Preset

_MODULES: Final = (generic, aiecs, agentflow, agentgraph, genericagents, aiagentsharp)

PRESETS: Final[Mapping[str, Preset]] = {module.PRESET.name: module.PRESET for module in _MODULES}
