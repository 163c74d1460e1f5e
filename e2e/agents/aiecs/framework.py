"""The parts of AIECS that run here, without what its packages load beside them.

`import aiecs` brings clients of four model providers, Celery, a database and a tracer: 103 distributions, 635 MB. The
executor, its cache and its metrics need six of them. So the `__init__` files on the way to these modules are not run.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

PASSED = (
    "aiecs",
    "aiecs.utils",
    "aiecs.tools",
    "aiecs.infrastructure",
    "aiecs.infrastructure.monitoring",
)


def _pass(package: str) -> None:
    """Makes a package importable from, without its own code."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{package} is not installed: see framework.lock")
    module = ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = module


for _package in PASSED:
    _pass(_package)

_executor = import_module("aiecs.tools.tool_executor.tool_executor")
ToolExecutor = _executor.ToolExecutor
ExecutorConfig = _executor.ExecutorConfig
OperationError = _executor.OperationError
ExecutorMetrics = import_module("aiecs.infrastructure.monitoring.executor_metrics").ExecutorMetrics
