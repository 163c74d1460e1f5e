"""A ConfigMap volume as the kubelet lays it out: `..data` is a symlink that is swapped as a whole."""

import base64
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.harness.fleet_pod import ConfigMapMount


class MissingConfigMapError(LookupError):
    """A ConfigMap, or a key of it, that the pod cannot start without is not there."""


def files_of(mount: ConfigMapMount, config_map: Mapping[str, Any] | None) -> dict[str, bytes]:
    """The files that `mount` shows; `config_map` is None where it does not exist.

    Raises:
        MissingConfigMapError: It, or a key that is asked for, is missing and not optional.
    """
    if config_map is None:
        if mount.optional:
            return {}
        raise MissingConfigMapError(f'configmap "{mount.config_map}" not found')
    found = {key: text.encode() for key, text in (config_map.get("data") or {}).items()}
    found |= {key: base64.b64decode(text) for key, text in (config_map.get("binaryData") or {}).items()}
    if not mount.items:
        return found
    missing = [key for key, _ in mount.items if key not in found]
    if missing and not mount.optional:
        raise MissingConfigMapError(f'configmap "{mount.config_map}" has no key "{missing[0]}"')
    return {path: found[key] for key, path in mount.items if key in found}


class Volume:
    """One directory; `show` replaces all of its files in one step."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._versions = itertools.count(1)
        self._shown: dict[str, bytes] | None = None
        directory.mkdir(parents=True)

    def show(self, files: dict[str, bytes]) -> bool:
        """Swaps the directory to `files`; False where they are shown already, and then nothing is touched."""
        if files == self._shown:
            return False
        data = self.directory / "..data"
        old = data.resolve() if data.is_symlink() else None
        version = self.directory / f"..version_{next(self._versions)}"
        version.mkdir()
        for name, content in files.items():
            (version / name).parent.mkdir(parents=True, exist_ok=True)
            (version / name).write_bytes(content)
        link = self.directory / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(data)
        # A file of an item "a/b" is reached through the link of its first part, as the kubelet does it.
        names = {Path(name).parts[0] for name in files}
        for name in names:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(Path("..data") / name)
        for entry in self.directory.iterdir():
            if not entry.name.startswith("..") and entry.name not in names:
                entry.unlink()
        if old is not None:
            shutil.rmtree(old)
        self._shown = dict(files)
        return True
