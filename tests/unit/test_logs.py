from __future__ import annotations

import json
import logging

from agentscaler.logs import JsonFormatter, JsonText, TextFormatter


def record(**extra: object) -> logging.LogRecord:
    logger = logging.getLogger("agentscaler.test")
    return logger.makeRecord("agentscaler.test", logging.WARNING, "f", 1, "%s failed", ("it",), None, extra=extra)


def test_json_has_the_message_and_each_value_by_its_key() -> None:
    line = json.loads(JsonFormatter().format(record(objects=3, cause=ValueError("no"))))
    assert line.pop("time").startswith("20")
    assert line == {
        "level": "warning",
        "logger": "agentscaler.test",
        "message": "it failed",
        "objects": 3,
        "cause": "no",
    }


def test_what_is_json_already_is_written_as_it_is() -> None:
    decision = JsonText('{"replicas": 3, "why": "it is \\"late\\""}')
    line = json.loads(JsonFormatter().format(record(objects=3, record=decision)))
    assert line["record"] == {"replicas": 3, "why": 'it is "late"'}
    assert line["objects"] == 3
    assert '{"replicas": 3' in TextFormatter().format(record(record=decision))


def test_an_exception_is_in_the_line() -> None:
    failed = record()
    failed.exc_info = (ZeroDivisionError, ZeroDivisionError("no"), None)
    assert "ZeroDivisionError" in json.loads(JsonFormatter().format(failed))["exception"]
    assert "ZeroDivisionError" in TextFormatter().format(failed)


def test_text_is_short() -> None:
    line = TextFormatter().format(record(objects=3, record="x" * 5000))
    assert "warning agentscaler.test: it failed objects=3 record=xxx" in line
    assert len(line) < 500
