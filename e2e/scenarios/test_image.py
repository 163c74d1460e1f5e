"""The images themselves, run as the strictest cluster would run them: no root, no capability, nothing writable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from agentscaler.api import crd
from e2e.kind.base import PYTHON as BASE
from e2e.kind.images import AGENT, OPERATOR, VERSION
from e2e.kind.stages import say

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

BUDGET_MEGABYTES = 190
IMAGES = (f"{OPERATOR}:{VERSION}", AGENT)
FOREIGN_USER = "1000740000"  # OpenShift gives each namespace users of its own, which no image knows
STRICT = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
WHAT_IS_IN_IT = """
import glob, importlib.util, json, os, sys
print(json.dumps({
    "uid": os.getuid(),
    "prefix": sys.prefix,
    "pip": any(map(importlib.util.find_spec, ("pip", "ensurepip"))),
    "pips": [path for place in os.environ["PATH"].split(":") for path in glob.glob(place + "/pip*")],
    "writable": [place for place in ("/", "/tmp", "/opt", sys.prefix) if os.access(place, os.W_OK)],
}))
"""


def run(cluster: KindCluster, image: str, *arguments: str, program: str = "", user: str = "") -> str:
    options = [*([f"--entrypoint={program}"] if program else []), *([f"--user={user}"] if user else [])]
    return cluster.engine.docker("run", *STRICT, *options, image, *arguments).stdout


def megabytes_beyond_the_base(cluster: KindCluster, image: str) -> float:
    if not cluster.engine.has_image(BASE):  # BuildKit keeps a base to itself
        cluster.engine.docker("pull", "--quiet", BASE)
    sizes = cluster.engine.docker("image", "inspect", "--format", "{{.Size}}", BASE, image).stdout.split()
    return (int(sizes[1]) - int(sizes[0])) / 1e6


def test_the_images_are_small(cluster: KindCluster) -> None:
    sizes = {image: megabytes_beyond_the_base(cluster, image) for image in IMAGES}
    say(", ".join(f"{image}: {size:.1f} MB beyond {BASE}" for image, size in sizes.items()))
    assert min(sizes.values()) > 0
    assert max(sizes.values()) <= BUDGET_MEGABYTES


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_no_pip_and_runs_without_root_on_a_file_system_that_it_cannot_write(
    cluster: KindCluster, image: str
) -> None:
    found = json.loads(run(cluster, image, "-c", WHAT_IS_IN_IT, program="python"))
    assert found == {"uid": 65532, "prefix": found["prefix"], "pip": False, "pips": [], "writable": []}
    assert found["prefix"].startswith("/opt/")
    assert int(cluster.engine.docker("image", "inspect", "--format", "{{.Config.User}}", image).stdout.split(":")[0])


def test_the_operators_image_is_the_command_line_of_this_version(cluster: KindCluster) -> None:
    image = IMAGES[0]
    assert run(cluster, image, "--version", user=FOREIGN_USER) == f"agentscaler {VERSION}\n"
    assert yaml.safe_load(run(cluster, image, "crds")) == crd.render()
    labels = json.loads(cluster.engine.docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
    assert labels["org.opencontainers.image.version"] == VERSION


def test_the_agents_image_holds_what_each_of_its_programs_needs(cluster: KindCluster) -> None:
    modules = ("e2e.agents.reference", "e2e.agents.upstream", "e2e.harness.load")
    script = " && ".join(f"python -m {module} --help" for module in modules)
    assert run(cluster, AGENT, "-c", script, program="sh", user=FOREIGN_USER).count("usage:") == len(modules)
