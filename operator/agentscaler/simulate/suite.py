"""The ten public traces of the benchmark, at the scale at which they are run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agentscaler.simulate.recording import Recording, Trace
from agentscaler.simulate.trace import read

TWO_DAYS_SECONDS = 172_800.0


@dataclass(frozen=True, slots=True)
class Load:
    """One trace of the suite."""

    name: str
    file: str
    scale: float = 1.0
    column: str | None = None
    seconds: float | None = None
    """Only its beginning."""

    def trace(self, folder: Path, seed: int) -> Trace:
        """The trace that this seed draws."""
        found = _recording(folder / self.file).trace(seed=seed, scale=self.scale, column=self.column)
        return found if self.seconds is None else found.first(self.seconds)


SUITE = (
    Load("azure_conv", "azure_llm_conv_2023.csv.gz"),
    Load("mooncake_conv", "mooncake_conversation.csv.gz"),
    Load("r1_ramp2h", "servegen_deepseek_r1_ramp2h.csv.gz"),
    Load("r1_1d", "servegen_deepseek_r1_1d_1s.csv.gz", 0.25),
    Load("agent_day", "agent_day_tasks.csv.gz"),
    Load("mlarge_2d", "servegen_mlarge_14d_10min.csv.gz", 0.02, seconds=TWO_DAYS_SECONDS),
    Load("autothrottle_diurnal", "autothrottle_1h_1s.csv.gz", 0.05, "diurnal_rps"),
    Load("autothrottle_noisy", "autothrottle_1h_1s.csv.gz", 0.05, "noisy_rps"),
    Load("autothrottle_bursty", "autothrottle_1h_1s.csv.gz", 0.05, "bursty_rps"),
    Load("twit_24h", "twit_24h_1s.csv.gz", 0.15),
)
FOURTEEN_DAYS = Load("mlarge_14d", "servegen_mlarge_14d_10min.csv.gz", 0.02)


def folder() -> Path | None:
    """The trace collection: `AGENTSCALER_TRACES`, else `../shared/traces`; None where there is none."""
    found = Path(os.environ.get("AGENTSCALER_TRACES", "../shared/traces"))
    return found if (found / "agent_calls.csv.gz").exists() else None


@cache
def _recording(path: Path) -> Recording:
    return read(path)
