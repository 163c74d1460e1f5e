"""A directory that disappears with the process that made it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Self

# It tries again for a while: processes that the kernel is ending may still write.
_REMOVAL = """
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf -- "$1" 2>/dev/null && exit 0
  sleep 0.2
done
"""


def janitor(script: str, *args: str) -> subprocess.Popen[bytes]:
    """A shell script that runs when its standard input ends: when this process closes it, or dies in any way.

    Args:
        script: What to do then, in sh.
        args: Its ``$1``, ``$2`` and so on.

    Returns:
        The waiting process; ``communicate()`` lets it do its work and waits for its end.
    """
    return subprocess.Popen(
        ["sh", "-c", f"trap '' INT TERM HUP\ncat >/dev/null\n{script}", "janitor", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the parent's group must not end it
        cwd="/",
    )


class Workspace:
    """A working directory: the caller's own, which stays, or a temporary one, which goes after any exit.

    Args:
        directory: The caller's directory, made if missing and never removed; None makes a temporary one.
        name: What it is for; part of the temporary directory's name.
    """

    def __init__(self, directory: Path | None, name: str) -> None:
        self._janitor: subprocess.Popen[bytes] | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self.path = directory.resolve()
            return
        self.path = Path(tempfile.mkdtemp(prefix=f"agentscaler-{name}-"))
        self._janitor = janitor(_REMOVAL, str(self.path))

    def close(self) -> None:
        """Remove the directory if it is a temporary one; further calls do nothing."""
        if self._janitor is not None:
            self._janitor.communicate()
            self._janitor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
