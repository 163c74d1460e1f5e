import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_runs_and_reports() -> None:
    code = BLOCKS[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert "an answer from a context" in done.stdout
    assert 'agent_requests_total{status="success"} 1.0' in done.stdout
    assert "agent_cache_misses_total 1.0" in done.stdout


def test_the_other_examples_are_valid() -> None:
    assert len(BLOCKS) == 3
    for code in BLOCKS[1:]:
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)
