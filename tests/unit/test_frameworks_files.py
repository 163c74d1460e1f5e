"""Native settings files: single values change, all else stays, and what is broken is told with its line."""

from __future__ import annotations

import json
import tomllib

import pytest

from agentscaler.frameworks.adapter import Format, Value
from agentscaler.frameworks.files import BrokenFile, line_of, read

ENV = """\
# the provider
export API_KEY='a # b' # secret
WORKERS=4 # threads
TEXT="two
lines"
EMPTY=
"""
TOML = """\
# mine
title = "x" # a title

[runner] # of events
worker_pool_size = 50 # pods are small
names = ["a", "b"]

[llm]
azure = { max_connections = 5, other = 1 }
"""
JSON = """\
{
  // comment, with "quotes"
  "Performance": { "maxConcurrentAgents": 100, /* more */ "Url": "http://x//y", },
  "Logging:Level": "Debug",
}
"""


def changed(form: Format, text: str, path: str, value: Value) -> str:
    document = read(form, text)
    document.set(tuple(path.split("/")), value)
    return document.text()


def test_an_env_file_keeps_comments_quotes_and_order() -> None:
    assert changed(Format.ENV, ENV, "WORKERS", 12) == ENV.replace("WORKERS=4", "WORKERS=12")


def test_a_new_variable_goes_to_the_end_on_a_line_of_its_own() -> None:
    assert changed(Format.ENV, "A=1", "B", 2) == "A=1\nB=2\n"
    assert changed(Format.ENV, "", "B", 2) == "B=2\n"


def test_values_of_an_env_file_are_read_as_dotenv_reads_them() -> None:
    document = read(Format.ENV, ENV)
    values = {key: document.get((key,)) for key in ("API_KEY", "WORKERS", "TEXT", "EMPTY", "NONE")}
    assert values == {"API_KEY": "a # b", "WORKERS": "4", "TEXT": "two\nlines", "EMPTY": "", "NONE": None}


def test_a_variable_that_stands_twice_is_changed_at_both_places() -> None:
    assert changed(Format.ENV, "A=1\nB=x\nA=2\n", "A", 7) == "A=7\nB=x\nA=7\n"


def test_names_of_variables_know_no_case() -> None:
    """As pydantic-settings and envy read them; envy refuses two spellings of one name."""
    assert changed(Format.ENV, "Workers=1\nworkers=2\n", "WORKERS", 7) == "Workers=7\nworkers=7\n"
    assert read(Format.ENV, "workers=2\n").get(("WORKERS",)) == "2"


def test_lines_that_end_as_on_windows_stay() -> None:
    assert changed(Format.ENV, "A=1\r\nB=2\r\n", "A", 7) == "A=7\r\nB=2\r\n"


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\nno assignment\n", 2), ("A=1\n\nB='open\nC=2\n", 3), ('A="x" y\n', 1), ("1A=2", 1)]
)
def test_a_broken_env_file_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BrokenFile) as broken:
        read(Format.ENV, text)
    assert broken.value.line == line


def test_a_toml_file_keeps_comments_and_order() -> None:
    assert changed(Format.TOML, TOML, "runner/worker_pool_size", 8) == TOML.replace("= 50 #", "= 8 #")
    inline = changed(Format.TOML, TOML, "llm/azure/max_connections", 9)
    assert inline == TOML.replace("max_connections = 5", "max_connections = 9")


def test_tables_that_are_missing_are_made() -> None:
    text = changed(Format.TOML, TOML, "memory/state_cache_ttl", "90s")
    assert tomllib.loads(text) == tomllib.loads(TOML) | {"memory": {"state_cache_ttl": "90s"}}
    assert text.startswith(TOML)


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = \n", 2), ("[x]\n[x\n", 2), ("a = 1\na = 2\n", None)])
def test_a_broken_toml_file_is_refused(text: str, line: int | None) -> None:
    with pytest.raises(BrokenFile) as broken:
        read(Format.TOML, text)
    if line is not None:
        assert broken.value.line == line


def test_a_json_file_is_read_as_dotnet_reads_it() -> None:
    document = read(Format.JSON, JSON)
    assert document.get(("Performance", "MaxConcurrentAgents")) == 100
    assert document.get(("Logging", "Level")) == "Debug"
    assert document.get(("Performance", "Url")) == "http://x//y"


def test_a_json_file_keeps_its_values_and_its_own_spelling() -> None:
    text = changed(Format.JSON, JSON, "Performance/MaxConcurrentAgents", 7)
    assert json.loads(text) == {
        "Performance": {"maxConcurrentAgents": 7, "Url": "http://x//y"},
        "Logging:Level": "Debug",
    }
    flat = json.loads(changed(Format.JSON, JSON, "Logging/Level", "Info"))
    assert flat["Logging:Level"] == "Info"
    assert "Logging" not in flat


def test_sections_of_json_that_are_missing_are_made_in_those_that_are_there() -> None:
    text = changed(Format.JSON, JSON, "performance/CacheExpirationMinutes", 3)
    assert json.loads(text)["Performance"]["CacheExpirationMinutes"] == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{\n "a": 1\n "b": 2}', 3),
        ("[]", 1),
        ('{"a": 1, "A": 2}', None),
        ('{"a": {"b": 1}, "A:B": 2}', None),
        ('{"a": NaN}', None),
        ('{"a": 1e999}', None),
        ('{"a": 1' + 5000 * "0" + "}", None),
        ('{"a": 1}\n/*/ open', 2),
        ('{"a":' * 65 + "1" + "}" * 65, None),
    ],
)
def test_a_broken_json_file_is_refused(text: str, line: int | None) -> None:
    with pytest.raises(BrokenFile) as broken:
        read(Format.JSON, text)
    assert broken.value.line == line


@pytest.mark.parametrize("depth", [100_000])
def test_a_json_file_that_is_nested_too_deeply_is_refused(depth: int) -> None:
    with pytest.raises(BrokenFile):
        read(Format.JSON, '{"a":' * depth)


@pytest.mark.parametrize(
    ("form", "text", "path"),
    [
        (Format.TOML, "runner = 5\n", "runner/worker_pool_size"),
        (Format.TOML, "[runner.worker_pool_size]\nx = 1\n", "runner/worker_pool_size"),
        (Format.JSON, '{"Performance": 5}', "Performance/MaxConcurrentAgents"),
        (Format.JSON, '{"Performance": {"MaxConcurrentAgents": {}}}', "Performance/MaxConcurrentAgents"),
    ],
)
def test_something_else_where_a_value_has_to_stand_is_refused(form: Format, text: str, path: str) -> None:
    with pytest.raises(BrokenFile):
        read(form, text).get(tuple(path.split("/")))


def test_a_byte_order_mark_is_no_content() -> None:
    assert read(Format.ENV, "\ufeffA=1\n").get(("A",)) == "1"
    assert read(Format.TOML, "\ufeffa = 1\n").get(("a",)) == 1
    assert read(Format.JSON, '\ufeff{"a": 1}').get(("a",)) == 1


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Format.ENV, "A=b" + " \t" * 30_000 + "c\n"),
        (Format.JSON, '{"a": "' + '\\"' * 30_000),
        (Format.JSON, "{}" + "/* " * 20_000),
    ],
)
def test_no_file_takes_longer_than_its_length(form: Format, text: str) -> None:
    """Each took minutes, in which the operator did nothing else: a hang here is the fault."""
    try:
        assert read(form, text).text() == text
    except BrokenFile as broken:
        assert form is Format.JSON, broken  # noqa: PT017


def test_a_file_that_is_too_large_is_refused() -> None:
    for form in Format:
        with pytest.raises(BrokenFile, match="more than 64 KiB"):
            read(form, "#" * 2**16 + "#")


def test_half_a_character_is_written_as_its_escape() -> None:
    """The API server keeps no other: the file would differ for ever from what was written, a generation each tick."""
    text = changed(Format.JSON, r'{"x": "\ud800", "y": "ü"}', "z", 1)
    assert json.loads(text) == {"x": "\ud800", "y": "ü", "z": 1}
    assert text.encode()
    assert "ü" in changed(Format.JSON, '{"y": "ü"}', "z", 1)


def test_the_line_of_a_path_is_found() -> None:
    assert line_of(TOML, ("runner", "worker_pool_size")) == 5
    assert line_of(JSON, ("Performance", "MaxConcurrentAgents")) == 3
    assert line_of(ENV, ("WORKERS",)) == 3
