"""A cluster without the CRD, or that loses it: everybody names the mend, and the mend works."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from agentscaler.cli import app
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until
from tests.component.chart_world import CRD
from tests.component.operator_process import SLOW_SECONDS, running

MEND = "agentscaler crds | kubectl apply"


def test_the_operator_ends_without_the_crd(bare: ControlPlane, tmp_path: Path) -> None:
    with running(tmp_path, bare.kubeconfig) as operator:
        assert operator.exit_code() == 1
        assert MEND in operator.said("cannot start")["error"]


def test_the_command_line_names_the_mend_and_it_works(bare: ControlPlane) -> None:
    for command in (["status"], ["status", "x"], ["explain", "x"]):
        result = CliRunner().invoke(app, [*command, "--kubeconfig", str(bare.kubeconfig)])
        assert result.exit_code == 1
        assert f"{MEND} -f -" in result.stderr
    assert bare.request("GET", CRD).status_code == 404
    bare.apply(CliRunner().invoke(app, ["crds"]).stdout)
    assert bare.request("GET", CRD).ok


def test_a_crd_that_is_removed_ends_the_operator(bare: ControlPlane, tmp_path: Path) -> None:
    bare.install_crds()
    with running(tmp_path, bare.kubeconfig) as operator:
        wait_until(lambda: operator.get("/readyz").ok, SLOW_SECONDS, "readiness")
        bare.request("DELETE", CRD).raise_for_status()
        assert operator.exit_code() == 1
        error = operator.said("the process ends")["error"]
    assert MEND in error
    assert "removed while the operator ran" in error
