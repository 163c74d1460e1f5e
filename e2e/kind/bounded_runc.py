#!/usr/bin/env -S python3 -IS
"""OCI runtime for dockerd: runc, asking for no capability that this host's bounding set lacks.

A privileged container asks for all capabilities, and runc refuses to start it where the host itself lacks one.
Without CAP_SYS_RESOURCE no process may lower its OOM score either.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# In the order of their numbers in linux/capability.h.
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = NAMES.split()

Spec = dict[str, Any]


def allowed() -> set[str]:
    """The bounding set of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    mask = int(next(line for line in lines if line.startswith("CapBnd")).split()[1], 16)
    return {f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1}


def bound(process: Spec, within: set[str]) -> None:
    """Take out of an OCI process what is not within the bounding set."""
    capabilities = process.get("capabilities") or {}
    for kind, names in capabilities.items():
        capabilities[kind] = [name for name in names if name in within]
    if "CAP_SYS_RESOURCE" not in within:
        process["oomScoreAdj"] = max(process.get("oomScoreAdj") or 0, 0)


def option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option, given as ``--name value`` or ``--name=value``."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            return value if equals else arguments[position + 1]
    return None


def rewrite(path: Path, process_of: Callable[[Spec], Spec]) -> None:
    """Bound the process in an OCI file."""
    spec = json.loads(path.read_text())
    bound(process_of(spec), allowed())
    path.write_text(json.dumps(spec))


def main(arguments: list[str]) -> None:
    """Mend the specification that is given, then become runc."""
    if "create" in arguments or "run" in arguments:
        bundle = option(arguments, "--bundle", "-b") or "."
        rewrite(Path(bundle) / "config.json", lambda spec: spec["process"])
    elif "exec" in arguments and (process := option(arguments, "--process", "-p")):
        rewrite(Path(process), lambda spec: spec)
    runc = shutil.which("runc") or "/usr/sbin/runc"
    os.execv(runc, [runc, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
