"""The settings file on disk."""

import logging
from pathlib import Path

from agentscaler_runtime.errors import TuningError
from agentscaler_runtime.metrics import Metrics
from agentscaler_runtime.settings import Settings
from agentscaler_runtime.tuning import MAX_BYTES, Tuning, parse

FILE_NAME = "tuning.json"

logger = logging.getLogger("agentscaler_runtime")


class SettingsFile:
    """Reads `tuning.json` whenever it is polled and tells what is new.

    It opens the file by its path each time and compares the content. That is cheap (one small file in memory), needs no
    inotify, and cannot be fooled: neither by the `..data` symlink swap of a ConfigMap volume, which silences a watch on
    the file, nor by equal sizes and times.
    """

    def __init__(self, directory: Path, defaults: Settings, metrics: Metrics) -> None:
        self._path = directory / FILE_NAME
        self._defaults = defaults
        self._metrics = metrics
        self._seen: bytes | str | None = None  # the last content, or why it could not be read

    def poll(self) -> Tuning | None:
        """The settings of a file that is new since the last poll; None: nothing new, no file, or a broken one."""
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            # Not an error: the mount is optional. What was seen is kept, so that the same file coming back is not news.
            return None
        except OSError as error:
            self._broken(seen=str(error), why=str(error))
            return None
        if content == self._seen:
            return None
        try:
            tuning = parse(content, self._defaults)
        except TuningError as error:
            self._broken(seen=content, why=str(error))
            return None
        self._seen = content
        if tuning.unknown_keys:
            logger.warning("tuning.json has keys that this agent does not know: %s", ", ".join(tuning.unknown_keys))
        return tuning

    def forget(self) -> None:
        """Makes the next poll bring what is there, also when it is not new."""
        self._seen = None

    def _broken(self, *, seen: bytes | str, why: str) -> None:
        if seen == self._seen:
            return
        self._seen = seen
        self._metrics.tuning_errors.inc()
        logger.error("tuning.json is broken, the last good settings stay: %s", why)
