"""What the images are made of, as far as it shows without a container engine; e2e/ runs them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OPERATOR = "requirements-operator.lock"
AGENT = "e2e/agents/reference/requirements.lock"
BUILD = "requirements-build.lock"

# Refuses to import what the image leaves out, then imports all of the operator.
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1:]:
            raise ModuleNotFoundError(f"the image has no {name}")
sys.meta_path.insert(0, Absent())
import agentscaler
for module in pkgutil.walk_packages(agentscaler.__path__, "agentscaler."):
    importlib.import_module(module.name)
"""


def pins(lock: str) -> dict[str, str]:
    """Each requirement of a lock file with its hashes, by its name."""
    blocks = re.findall(r"^[a-z0-9].*(?:\n {4}.*)*", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return {canonicalize_name(block.partition("==")[0]): block for block in blocks}


def left_out() -> list[str]:
    """Modules that the Dockerfile removes."""
    removed = re.findall(r"^RUN rm -r (.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    paths = [word.partition("/site-packages/")[2] for line in removed for word in line.split()]
    return [path.replace("/", ".") for path in paths]


def needed_by(name: str) -> set[str]:
    """Names of the distributions that one needs to run here, itself left out."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        for text in distribution(todo.pop()).requires or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            needed = canonicalize_name(requirement.name)
            if needed not in seen:
                seen.add(needed)
                todo.append(needed)
    return seen


@pytest.mark.parametrize("lock", [OPERATOR, AGENT, BUILD])
def test_an_image_holds_the_very_versions_that_the_tests_ran_with(lock: str) -> None:
    tested = pins("requirements.lock")
    assert pins(lock) == {name: tested[name] for name in pins(lock)}
    assert all("--hash=sha256:" in block for block in pins(lock).values())


@pytest.mark.parametrize(
    ("name", "lock", "others"), [("agentscaler", OPERATOR, set()), ("agentscaler-runtime", AGENT, {"aiohttp"})]
)
def test_an_image_holds_all_that_it_needs(name: str, lock: str, others: set[str]) -> None:
    assert needed_by(name) | others <= set(pins(lock))


def test_the_operators_image_holds_nothing_of_the_tests() -> None:
    assert set(pins(OPERATOR)).isdisjoint({"pip", "pytest", "mypy", "ruff", "hatchling", "hypothesis", "cachetools"})


def test_the_build_backend_is_the_one_that_the_distributions_name() -> None:
    for project in (".", "clients/python"):
        wanted = tomllib.loads((ROOT / project / "pyproject.toml").read_text())["build-system"]["requires"]
        assert set(wanted) <= {block.split()[0] for block in pins(BUILD).values()}, project


def test_what_the_operators_image_leaves_out_is_imported_by_nothing_in_it() -> None:
    assert left_out() == ["kubernetes.aio"]
    subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING, *left_out()], check=True, timeout=120)


def test_what_the_operators_image_leaves_out_is_named_by_nothing_in_it() -> None:
    naming = re.compile(rb"\bkubernetes\.aio\b|from (kubernetes|\.) import [^\n]*\baio\b")
    in_image = set(pins(OPERATOR))
    owners = packages_distributions()
    importable = [name for name, found in owners.items() if {canonicalize_name(each) for each in found} & in_image]
    assert "kubernetes" in importable
    assert "kopf" in importable
    site_packages = Path(str(distribution("kubernetes").locate_file("")))
    for package in importable:
        for source in (site_packages / package).rglob("*.py"):
            if "aio" not in source.relative_to(site_packages).parts:
                assert not naming.search(source.read_bytes()), source
