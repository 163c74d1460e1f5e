"""What the chart makes of its values; no cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentscaler import __version__
from agentscaler.api import crd
from agentscaler.kube.permissions import LEASE_RULE, RULES
from agentscaler.settings import load
from agentscaler.signals.servers import Server
from tests.component.helm import CHART, RELEASE, VERSIONS, Helm, Json, kinds, of, operator_config

BACKLOG = 'sum(messages{queue=~"${queue}|<none>", namespace="${namespace}"}) > 0 # {{ it }}'
SECRET = {"secret": "prometheus", "key": "it"}
EVERYTHING: Json = {
    "prometheus": {
        "main": {
            "url": "https://prometheus:9090",
            "matchers": {"cluster": "prod"},
            "headers": {"X-Scope-OrgID": "team"},
            "secretHeaders": {"X-Api-Key": SECRET},
            "basicAuth": {"username": SECRET, "password": SECRET},
            "tls": {"ca": {"configMap": "ca", "key": "ca.crt"}, "cert": SECRET, "key": SECRET},
            "timeoutSeconds": 2.5,
            "scrapeIntervalSeconds": 5,
            "namespaceLabel": "ns",
            "podLabel": "p",
            "targetLabels": ["job", "replica"],
            "parameters": {"dedup": "true"},
            "demandTemplates": {"backlog": BACKLOG},
            "maxResponseBytes": 10_000_000,
        },
        "token": {"url": "http://token:9090", "bearerToken": SECRET},
        "projected": {"url": "http://projected:9090", "bearerToken": {"serviceAccount": {"audience": "thanos"}}},
        "plain": {"url": "http://plain:9090", "basicAuth": {"username": "me", "password": SECRET}},
    },
    "defaultServer": "main",
    "replicas": 2,
    "settings": {"writeBurst": 3000, "tickSeconds": 1.5, "healthPort": 9090},
    "podMonitor": {"enabled": True, "labels": {"release": "kps"}},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True, "runbookUrl": "https://example.org/runbook.md"},
    "dashboard": {"enabled": True},
    "networkPolicy": {"enabled": True, "egress": [{"ports": [{"port": 443}]}]},
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    "podLabels": {"team": "x"},
    "podAnnotations": {"note": "y"},
    "serviceAccount": {"annotations": {"iam": "role"}},
    "service": {"annotations": {"note": "z"}},
}
FILES = "/etc/agentscaler/servers"


@pytest.fixture(params=VERSIONS)
def helm(request: pytest.FixtureRequest, tmp_path: Path) -> Helm:
    return Helm(request.param, tmp_path)


@pytest.fixture
def helm4(tmp_path: Path) -> Helm:
    return Helm("helm", tmp_path)


def pod(objects: list[Json]) -> Json:
    spec: Json = of(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def rules(role: Json) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_nothing_optional_is_made_by_default(helm: Helm) -> None:
    assert kinds(helm.template()) == {
        "CustomResourceDefinition",
        "ServiceAccount",
        "ConfigMap",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Service",
        "Deployment",
        "Pod",
    }


def test_everything_optional_is_made_where_asked_for(helm: Helm) -> None:
    objects = helm.template(EVERYTHING)
    optional = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "NetworkPolicy", "PodDisruptionBudget"}
    assert optional <= kinds(objects)
    assert of(objects, "PodMonitor")["metadata"]["labels"]["release"] == "kps"
    spec = pod(objects)
    assert spec["containers"][0]["image"] == "agentscaler.dev/operator@sha256:" + "0" * 64
    for field in ("imagePullSecrets", "priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert spec[field] == EVERYTHING[field]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"] == of(objects, "Deployment")["spec"]["selector"]
    assert {"name": "extra", "emptyDir": {}} in spec["volumes"]
    assert {"name": "extra", "mountPath": "/extra"} in spec["containers"][0]["volumeMounts"]
    assert spec["containers"][0]["env"] == EVERYTHING["extraEnv"]
    template = of(objects, "Deployment")["spec"]["template"]["metadata"]
    assert template["labels"]["team"] == "x"
    assert template["annotations"]["note"] == "y"
    assert of(objects, "ServiceAccount")["metadata"]["annotations"] == {"iam": "role"}
    assert of(objects, "Service")["metadata"]["annotations"] == {"note": "z"}


def test_both_versions_of_helm_make_the_same(tmp_path: Path) -> None:
    first, second = (Helm(version, tmp_path).template(EVERYTHING) for version in VERSIONS)
    order = lambda each: (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])  # noqa: E731
    assert sorted(first, key=order) == sorted(second, key=order)


def test_a_packaged_chart_is_the_whole_chart(helm: Helm, tmp_path: Path) -> None:
    helm("lint", "--strict", str(CHART))
    helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    assert helm.template(EVERYTHING, chart=package) == helm.template(EVERYTHING)


def test_the_chart_has_the_version_of_the_operator(helm4: Helm) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert pod(helm4.template())["containers"][0]["image"] == f"agentscaler.dev/operator:{__version__}"


def test_the_crd_is_the_one_of_the_models_and_outlives_the_release(helm: Helm) -> None:
    made = of(helm.template(), "CustomResourceDefinition", crd.NAME)
    assert made["spec"] == crd.render()["spec"]
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "CustomResourceDefinition" not in kinds(helm.template({"crds": {"install": False}}))


def test_the_operator_takes_its_configuration(helm: Helm, tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text(of(helm.template(EVERYTHING), "ConfigMap")["data"]["operator.yaml"])
    settings = load(config, {}, {})
    assert settings.servers["default"] == Server(
        name="main",
        url="https://prometheus:9090",
        matchers=(("cluster", "prod"),),
        headers=(("X-Scope-OrgID", "team"),),
        header_files=(("X-Api-Key", f"{FILES}/main/headers/X-Api-Key"),),
        username_file=f"{FILES}/main/username",
        password_file=f"{FILES}/main/password",
        ca_file=f"{FILES}/main/ca.crt",
        cert_file=f"{FILES}/main/tls.crt",
        key_file=f"{FILES}/main/tls.key",
        timeout_seconds=2.5,
        scrape_interval_seconds=5,
        namespace_label="ns",
        pod_label="p",
        target_labels=("job", "replica"),
        parameters=(("dedup", "true"),),
        demand_templates=(("backlog", BACKLOG),),
        max_response_bytes=10_000_000,
    )
    assert settings.prometheus["token"].bearer_token_file == f"{FILES}/token/token"
    assert settings.prometheus["projected"].bearer_token_file == f"{FILES}/projected/token"
    assert settings.prometheus["plain"].username == "me"
    assert (settings.write_burst, settings.tick_seconds, settings.health_port) == (3000, 1.5, 9090)
    assert (settings.leader_election, settings.lease_namespace, settings.lease_name) == (
        True,
        "agentscaler-system",
        RELEASE,
    )


def test_the_operator_starts_without_a_server(helm4: Helm, tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text(of(helm4.template(), "ConfigMap")["data"]["operator.yaml"])
    assert load(config, {}, {}).servers == {}


def test_every_file_of_a_server_is_mounted(helm4: Helm) -> None:
    objects = helm4.template(EVERYTHING)
    named = {
        value
        for server in operator_config(objects)["prometheus"].values()
        for key, given in server.items()
        if key.endswith(("File", "Files"))
        for value in (given.values() if isinstance(given, dict) else [given])
    }
    spec = pod(objects)
    places = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    mounted = set()
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            ((_, given),) = source.items()
            for item in given.get("items", [given]):
                mounted.add(f"{places[volume['name']]}/{item['path']}")
    assert named == mounted
    assert len(named) == 9


def test_a_missing_secret_does_not_keep_the_pod_from_starting(helm4: Helm) -> None:
    sources = [
        source
        for volume in pod(helm4.template(EVERYTHING))["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    references = [given for source in sources for kind, given in source.items() if kind != "serviceAccountToken"]
    assert len(references) == 8
    assert all(reference["optional"] for reference in references)


def test_a_change_of_the_configuration_rolls_the_operator_and_nothing_else_does(helm4: Helm) -> None:
    def template(values: Json) -> Any:
        return of(helm4.template(values), "Deployment")["spec"]["template"]

    assert template({"prometheus": {"main": {"url": "http://a"}}}) != template(
        {"prometheus": {"main": {"url": "http://b"}}}
    )
    assert template({"podMonitor": {"enabled": True}}) == template({})


def test_it_may_do_what_the_operator_needs_and_no_more(helm4: Helm) -> None:
    needed = {(rule.group, rule.resource, verb) for rule in RULES for verb in rule.verbs}
    objects = helm4.template()
    assert rules(of(objects, "ClusterRole", "agentscaler-operator")) == needed
    lease = of(objects, "Role", "agentscaler-lease")
    assert lease["metadata"]["namespace"] == "agentscaler-system"
    assert rules(lease) == {(LEASE_RULE.group, LEASE_RULE.resource, verb) for verb in LEASE_RULE.verbs}
    (named,) = [rule["resourceNames"] for rule in lease["rules"] if "resourceNames" in rule]
    assert named == [operator_config(objects)["leaseName"]]


def test_restricted_to_namespaces_it_has_roles_only(helm4: Helm) -> None:
    objects = helm4.template({"namespaces": ["a", "b"]})
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds(objects)
    needed = {(rule.group, rule.resource, verb) for rule in RULES for verb in rule.verbs}
    roles = [each for each in objects if each["kind"] == "Role" and each["metadata"]["name"] == "agentscaler-operator"]
    assert [(role["metadata"]["namespace"], rules(role)) for role in roles] == [("a", needed), ("b", needed)]
    assert operator_config(objects)["namespaces"] == ["a", "b"]


def test_rights_are_bound_to_the_service_account_in_use(helm4: Helm) -> None:
    for given, name in (({}, RELEASE), ({"name": "mine"}, "mine"), ({"create": False, "name": "theirs"}, "theirs")):
        objects = helm4.template({"serviceAccount": given, "namespaces": ["a"]})
        bindings = [each for each in objects if each["kind"] == "RoleBinding"]
        assert {binding["subjects"][0]["name"] for binding in bindings} == {name}
        assert {binding["subjects"][0]["namespace"] for binding in bindings} == {"agentscaler-system"}
        assert pod(objects)["serviceAccountName"] == name
        assert ("ServiceAccount" in kinds(objects)) == given.get("create", True)


def test_without_a_lease_two_operators_never_act_at_once(helm4: Helm) -> None:
    objects = helm4.template({"leaderElection": {"enabled": False}})
    assert of(objects, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert operator_config(objects)["leaderElection"] is False
    assert "agentscaler-lease" not in {each["metadata"]["name"] for each in objects}


def test_every_object_has_the_usual_labels_and_no_label_is_too_long(helm4: Helm) -> None:
    usual = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "managed-by")}
    for each in helm4.template(EVERYTHING | {"fullnameOverride": "x" * 53}):
        labels = each["metadata"]["labels"]
        assert usual <= labels.keys(), each["kind"]
        assert all(len(value) <= 63 for value in labels.values())
        assert len(each["metadata"]["name"]) <= 63


def test_the_dashboard_is_what_its_source_says(helm4: Helm) -> None:
    made = of(helm4.template({"dashboard": {"enabled": True}}), "ConfigMap", f"{RELEASE}-dashboard")
    assert json.loads(made["data"]["agentscaler.json"]) == json.loads((CHART / "files" / "dashboard.json").read_text())
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
