"""C# on Mono: the tests of the client library and of what the agents share, and the library's size."""

from __future__ import annotations

import re
import subprocess

from e2e.harness import dotnet


def test_the_library_and_what_the_agents_share_pass_their_own_tests() -> None:
    program = dotnet.ensure_tests()
    done = subprocess.run(
        ["mono", "--debug", program], cwd=dotnet.LIBRARY, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"(?m)^passed ", done.stdout)) >= 28, done.stdout


def test_the_library_that_users_copy_stays_small() -> None:
    lines = [line.strip() for file in dotnet.LIBRARY.glob("*.cs") for line in file.read_text().splitlines()]
    code = [line for line in lines if line.strip("{}();") and not line.startswith(("//", "using "))]
    assert 100 < len(code) <= 200


def test_those_who_need_mono_are_told_the_same_packages() -> None:
    for file in (".ci/run", "CONTRIBUTING.md", "clients/dotnet/README.md"):
        assert " ".join(dotnet.PACKAGES) in (dotnet.ROOT / file).read_text(), file
