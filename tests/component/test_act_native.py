"""The framework's own settings file: beside `tuning.json`, on top of the user's, put back, and never broken."""

from __future__ import annotations

import json
from typing import Any

from agentscaler.core.observation import Health, SignalName
from agentscaler.kube.paths import CONFIG_MAPS
from tests.component.act_stage import TEMPLATE, Stage

BASE = "# mine\nOPENAI_API_KEY=secret\nTOOL_EXECUTOR_MAX_WORKERS=3\nTOOL_EXECUTOR_TIMEOUT=20\n"
KNOBS: dict[str, Any] = {
    "workers": {"mode": "Off", "initial": 7},
    "cache": {"mode": "Off", "initial": "100Mi", "ttlSeconds": {"initial": 600}},
    "circuitBreaker": {"mode": "Off"},
}
DELIVERY = {"mode": "Restart", "minRestartIntervalSeconds": 60, "baseConfigMap": {"name": "mine"}}


def put_base(stage: Stage, text: str, key: str = "aiecs.env") -> None:
    stage.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "mine", "namespace": stage.namespace},
            "data": {key: text, "other": "x"},
        }
    )


def base_of(stage: Stage) -> dict[str, Any]:
    return stage.get(CONFIG_MAPS.path(stage.namespace, "mine"))


def native(stage: Stage, file: str = "aiecs.env") -> str:
    return str(stage.config_map()["data"].get(file, ""))


def workers(stage: Stage) -> list[str]:
    return [line for line in native(stage).splitlines() if line.startswith("TOOL_EXECUTOR_MAX_WORKERS=")]


def later(stage: Stage) -> None:
    """The user's file is looked at again, and another restart is allowed."""
    stage.loop._targets._bases._read_at = float("-inf")
    stage.now += 120


def tuning_with(workers_initial: int) -> dict[str, Any]:
    return KNOBS | {"workers": {"mode": "Off", "initial": workers_initial}}


async def test_both_files_are_written_at_once_and_the_users_own_stays_as_it_is(stage: Stage) -> None:
    put_base(stage, BASE)
    before = base_of(stage)
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.until(lambda: stage.find(CONFIG_MAPS.path(stage.namespace, "one-settings")), "the settings")
    made = stage.config_map()
    (entry,) = [each for each in made["metadata"]["managedFields"] if each["manager"] == "agentscaler"]
    assert entry["operation"] == "Update"
    assert json.loads(made["data"]["tuning.json"]) == {
        "generation": 1,
        "workers": {"maxConcurrent": 7},
        "cache": {"maxBytes": 100 * 2**20, "ttlSeconds": 600},
    }
    assert made["data"]["aiecs.env"] == (
        "# mine\nOPENAI_API_KEY=secret\nTOOL_EXECUTOR_MAX_WORKERS=7\nTOOL_EXECUTOR_TIMEOUT=20\n"
        "TOOL_EXECUTOR_CACHE_SIZE=1000\nTOOL_EXECUTOR_CACHE_TTL=600\n"
    )
    await stage.settle()
    assert stage.condition("NativeSettings")["reason"] == "Rendered"
    assert stage.status()["effective"]["delivery"]["baseConfigMap"] == {"name": "mine", "key": "aiecs.env"}
    assert stage.config_map()["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], "one write"
    assert base_of(stage) == before
    writes = stage.writes()
    await stage.tick(6)
    assert stage.writes() == writes, "at rest nothing is written"


async def test_a_changed_base_is_rendered_again_under_a_new_generation(stage: Stage) -> None:
    put_base(stage, BASE)
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    old = stage.tuning()
    put_base(stage, BASE.replace("TIMEOUT=20", "TIMEOUT=90"))
    later(stage)
    await stage.until(lambda: "TOOL_EXECUTOR_TIMEOUT=90" in native(stage), "the changed base")
    assert workers(stage) == ["TOOL_EXECUTOR_MAX_WORKERS=7"]
    assert stage.tuning() == old | {"generation": old["generation"] + 1}, "pods have to read it anew"
    assert not [note for reason, note in stage.events() if reason == "Restored"], "nobody has touched what is ours"
    await stage.settle()


async def test_a_broken_base_leaves_the_last_good_file_and_disturbs_nothing_else(stage: Stage) -> None:
    put_base(stage, BASE)
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    good = native(stage)
    put_base(stage, BASE + "this is no assignment\n")
    later(stage)
    await stage.until(lambda: stage.condition("NativeSettings")["reason"] == "BaseBroken", "the broken base told")
    told = stage.condition("NativeSettings")
    assert told["status"] == "False"
    assert "ConfigMap mine, key aiecs.env, line 5: is not KEY=value: correct it there" in told["message"]
    assert native(stage) == good
    assert stage.conditions()["Ready"] == "True"
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=tuning_with(9))
    stage.now += 120
    await stage.until(lambda: workers(stage) == ["TOOL_EXECUTOR_MAX_WORKERS=9"], "knobs that still move")
    assert native(stage) == good.replace("WORKERS=7", "WORKERS=9")
    stage.start()  # an operator that knows of the broken base only
    await stage.tick(3)
    assert native(stage) == good.replace("WORKERS=7", "WORKERS=9")
    put_base(stage, BASE.replace("TIMEOUT=20", "TIMEOUT=33"))
    later(stage)
    await stage.until(lambda: "TOOL_EXECUTOR_TIMEOUT=33" in native(stage), "the mended base")
    await stage.until(lambda: stage.condition("NativeSettings")["status"] == "True", "the condition cleared")


async def test_a_base_that_is_broken_from_the_start_gets_no_file_and_the_pods_come(stage: Stage) -> None:
    put_base(stage, "TOOL_EXECUTOR_MAX_WORKERS=many\n")
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    assert set(stage.config_map()["data"]) == {"tuning.json"}
    assert "TOOL_EXECUTOR_MAX_WORKERS must be a whole number" in stage.condition("NativeSettings")["message"]


async def test_a_base_that_is_missing_or_without_its_key_is_told_with_the_mend(stage: Stage) -> None:
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    assert stage.condition("NativeSettings")["reason"] == "BaseNotFound"
    assert "ConfigMap mine does not exist: create it" in stage.condition("NativeSettings")["message"]
    put_base(stage, BASE, key="another.env")
    later(stage)
    await stage.until(lambda: "has no key aiecs.env" in stage.condition("NativeSettings")["message"], "the key told")
    stage.apply(
        framework="aiecs",
        delivery=DELIVERY | {"baseConfigMap": {"name": "mine", "key": "another.env"}},
        tuning=KNOBS,
    )
    later(stage)
    await stage.until(lambda: "OPENAI_API_KEY=secret" in native(stage), "the file of the other key")


async def test_a_hand_edited_native_file_is_put_back(stage: Stage) -> None:
    put_base(stage, BASE)
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    was, text = stage.tuning(), native(stage)
    edited = {"data": {"aiecs.env": text.replace("WORKERS=7", "WORKERS=700")}}
    stage.merge(CONFIG_MAPS.path(stage.namespace, "one-settings"), edited)
    await stage.until(lambda: native(stage) == text, "the file back")
    assert stage.tuning() == was, "running pods have not read it: only a start does"
    assert ("Restored", "aiecs.env was changed by somebody else and was put back") in stage.events()


async def test_a_restart_setting_is_reported_and_not_written_to_running_pods(stage: Stage) -> None:
    put_base(stage, BASE)
    stage.apply(framework="aiecs", delivery={"baseConfigMap": {"name": "mine"}}, tuning=KNOBS)
    await stage.settle()
    assert native(stage) == BASE
    told = stage.condition("NativeSettings")
    assert (told["status"], told["reason"]) == ("False", "RestartNeeded")
    assert "TOOL_EXECUTOR_MAX_WORKERS" in told["message"]
    assert "delivery.mode: Restart" in told["message"]
    assert stage.tuning()["workers"] == {"maxConcurrent": 7}, "what an agent reads live"


async def test_a_variable_of_the_template_that_goes_before_the_file_is_told(stage: Stage) -> None:
    (container,) = TEMPLATE["spec"]["containers"]
    given = {**container, "env": [{"name": "TOOL_EXECUTOR_MAX_WORKERS", "value": "4"}, {"name": "OTHER", "value": "x"}]}
    template = {"spec": {"containers": [given]}}
    stage.apply(framework="aiecs", delivery={"mode": "Restart"}, tuning=KNOBS, template=template)
    await stage.settle()
    told = stage.condition("NativeSettings")
    assert (told["status"], told["reason"]) == ("Unknown", "Shadowed"), "the agent's loader decides"
    assert told["message"].startswith("the pod template sets TOOL_EXECUTOR_MAX_WORKERS, which many agents take before")
    stage.apply(framework="aiecs", tuning=KNOBS, template=template)  # Hot: it is theirs to set, as they were told
    await stage.until(lambda: stage.condition("NativeSettings")["reason"] == "RestartNeeded", "no other advice")


async def test_settings_of_a_dotnet_host_are_put_into_its_appsettings(stage: Stage) -> None:
    put_base(
        stage, '{ // mine\n "performance": {"maxConcurrentAgents": 100, "TimeoutSeconds": 30}, }', "appsettings.json"
    )
    stage.apply(framework="genericagents", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    assert json.loads(native(stage, "appsettings.json")) == {
        "performance": {
            "maxConcurrentAgents": 7,
            "TimeoutSeconds": 30,
            "CacheExpirationMinutes": 10,
        }
    }


async def test_a_restart_rolls_once_for_both_files(stage: Stage) -> None:
    put_base(stage, BASE)
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    await stage.settle()
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=tuning_with(9))
    put_base(stage, BASE.replace("TIMEOUT=20", "TIMEOUT=90"))
    later(stage)
    await stage.until(lambda: workers(stage) == ["TOOL_EXECUTOR_MAX_WORKERS=9"], "both changes")
    assert "TOOL_EXECUTOR_TIMEOUT=90" in native(stage)
    generation = stage.tuning()["generation"]
    await stage.settle()
    annotations = stage.deployment()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["agentscaler.dev/settings-generation"] == str(generation)


async def test_the_file_of_another_framework_goes_with_it(stage: Stage) -> None:
    stage.apply(framework="agentflow", tuning=KNOBS)
    await stage.settle()
    assert "worker_pool_size = 7" in native(stage, "agentflow.toml")
    assert 'state_cache_ttl = "600s"' in native(stage, "agentflow.toml")
    stage.merge(CONFIG_MAPS.path(stage.namespace, "one-settings"), {"data": {"theirs.txt": "x"}})
    stage.apply(framework="generic", tuning=KNOBS)
    await stage.until(lambda: "agentflow.toml" not in stage.config_map()["data"], "no file that nobody keeps")
    assert stage.config_map()["data"]["theirs.txt"] == "x"
    assert stage.condition("NativeSettings")["reason"] == "NotNeeded"


async def test_the_entries_of_a_cache_follow_from_what_an_entry_was_seen_to_weigh(stage: Stage) -> None:

    stage.agents.values |= {SignalName.CACHE_BYTES: 40.0 * 2**20, SignalName.CACHE_ENTRIES: 400.0}
    stage.apply(framework="agentflow", tuning=KNOBS)
    await stage.settle()
    assert "state_cache_size = 1000" in native(stage, "agentflow.toml"), "100Mi of 0.1Mi each"
    made = stage.config_map()["metadata"]["resourceVersion"]
    stage.agents.values[SignalName.CACHE_ENTRIES] = 350.0
    await stage.tick(4)
    assert stage.config_map()["metadata"]["resourceVersion"] == made, "about the same is no new file"
    stage.agents.values[SignalName.CACHE_ENTRIES] = Health.STALE
    await stage.tick(4)
    stage.start()  # nor is a moment without metrics, nor another operator
    await stage.tick(4)
    assert stage.config_map()["metadata"]["resourceVersion"] == made
    stage.agents.values[SignalName.CACHE_ENTRIES] = 100.0
    await stage.until(
        lambda: "state_cache_size = 250" in native(stage, "agentflow.toml"), "entries four times as heavy"
    )


async def test_a_broken_base_at_a_change_of_framework_brings_nothing_of_the_old_one(stage: Stage) -> None:
    put_base(stage, "[runner]\nworker_pool_size = 3\n", key="agentflow.toml")
    stage.apply(framework="agentflow", delivery={"baseConfigMap": {"name": "mine"}}, tuning=KNOBS)
    await stage.settle()
    assert "worker_pool_size = 7" in native(stage, "agentflow.toml")
    put_base(stage, "no assignment\n")
    stage.apply(framework="aiecs", delivery=DELIVERY, tuning=KNOBS)
    later(stage)
    await stage.until(lambda: stage.condition("NativeSettings")["reason"] == "BaseBroken", "the broken base told")
    await stage.until(lambda: set(stage.config_map()["data"]) == {"tuning.json"}, "no file of either")
    assert not [note for reason, note in stage.events() if reason == "Restored"]
