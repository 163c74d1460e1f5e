"""The parts of the kind harness that need no cluster."""

from pathlib import Path

import pytest

from e2e.kind import base, bounded_runc, operator

WITHIN = {"CAP_CHOWN", "CAP_KILL"}


def test_a_container_asks_for_no_capability_that_the_host_lacks() -> None:
    process = {
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "effective": ["CAP_KILL", "CAP_BPF"]},
        "oomScoreAdj": -999,
    }
    bounded_runc.bound(process, WITHIN)
    assert process == {
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_KILL"]},
        "oomScoreAdj": 0,
    }


def test_a_host_with_all_capabilities_lowers_oom_scores_as_asked() -> None:
    process = {"oomScoreAdj": -999}
    bounded_runc.bound(process, {"CAP_SYS_RESOURCE"})
    assert process == {"oomScoreAdj": -999}


def test_the_bounding_set_of_this_process_is_named_as_the_kernel_does() -> None:
    assert bounded_runc.allowed() <= {f"CAP_{name}" for name in bounded_runc.CAPABILITIES}
    assert bounded_runc.CAPABILITIES[24] == "SYS_RESOURCE"


@pytest.mark.parametrize("arguments", [["create", "--bundle", "/b", "id"], ["create", "--bundle=/b", "id"]])
def test_an_option_of_runc_is_found_in_both_forms(arguments: list[str]) -> None:
    assert bounded_runc.option(arguments, "--bundle", "-b") == "/b"
    assert bounded_runc.option(arguments, "--process", "-p") is None


def test_pip_in_a_build_uses_the_index_of_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\nindex-url = https://index.example/simple\ncert = /x.pem\n")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://more.example/simple")

    lines = base.pip_configuration().splitlines()
    assert lines[0] == "[global]"
    assert "index-url = https://index.example/simple" in lines
    assert "extra-index-url = https://more.example/simple" in lines
    assert f"cert = {base.BUNDLE}" in lines


def test_values_are_merged_as_helm_does() -> None:
    low = {"image": {"tag": "a", "pullPolicy": "Never"}, "namespaces": ["x"]}
    assert operator.merged(low, {"image": {"tag": "b"}, "namespaces": []}) == {
        "image": {"tag": "b", "pullPolicy": "Never"},
        "namespaces": [],
    }
