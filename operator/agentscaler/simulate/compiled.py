"""Machine code for the inner loops: numba, cached outside of the work tree.

Chosen over vectorised numpy because the queue, the pods' memory and the breakers feed back into each other from one
event to the next: there is nothing to do side by side. A day takes about a second in here; what is left is the policy,
which is plain Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import UserProvidedCacheLocator

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}

_CACHED = (
    "compiled.py",
    "state.py",
    "breaker.py",
    "caches.py",
    "lifecycle.py",
    "pods.py",
    "kernel.py",
    "fleet.py",
    "fluid.py",
)


def _cache_folder() -> Path:
    """Named after the sources: numba itself does not see that a function called from another file has changed."""
    here = Path(__file__).parent
    content = b"".join((here / name).read_bytes() for name in _CACHED if (here / name).exists())
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "agentscaler" / "numba" / sha256(content).hexdigest()[:16]


class CacheLocator(UserProvidedCacheLocator):
    """The same sources find the same machine code, in whatever directory they lie."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:  # noqa: ARG003  # an override
        """Of the cache folder: none. Numba has one for each directory of sources, and compiles a clone anew."""
        return ""


if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.__dict__["CACHE_DIR"] = str(_cache_folder())
    numba.config.__dict__["CACHE_LOCATOR_CLASSES"] = f"{CacheLocator.__module__}.{CacheLocator.__qualname__}"


def compiled(function: F) -> F:
    """The function as machine code; compiled at its first call and kept for later processes.

    Without numba's counting of references: no array is made in here, and counting took nine tenths of the time. (So
    arrays are copied element by element: a slice assignment would want room for a copy.)
    """
    return cast("F", numba.njit(**_OPTIONS)(function))
