"""One definition for both judges: what the API server checks by CEL, the models check in Python.

The operator judges again because an object can be older than the CRD. A test feeds one corpus to both and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agentscaler.api.quantity import parse_size

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that a value must keep."""

    cel: str
    """Empty: the API server enforces it by other means."""
    message: str
    """Names the field and the mend."""
    holds: Callable[[Any], bool] | None = None
    """The same rule in Python. None: it compares with the old object, which only the API server has."""
    field_path: str = ""
    """The field to blame, relative to the value, such as `.max`."""

    def as_validation(self) -> dict[str, str]:
        """The rule as an entry of `x-kubernetes-validations`."""
        validation = {"rule": self.cel, "message": self.message}
        return validation | {"fieldPath": self.field_path} if self.field_path else validation

    def judge(self, value: Any) -> None:
        """Raise a pydantic error when the value breaks the rule."""
        if self.holds is not None and not self.holds(value):
            raise PydanticCustomError("rule", self.message, {"field_path": self.field_path})


def _validations(rules: Sequence[Rule]) -> JsonSchemaValue:
    validations = [rule.as_validation() for rule in rules if rule.cel]
    return {VALIDATIONS: validations} if validations else {}


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotation of a field: the rules that its value must keep, and further keys of its schema."""

    rules: tuple[Rule, ...] = ()
    schema: tuple[tuple[str, Any], ...] = ()
    """Pairs, and tuples for lists: annotations have to be hashable."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._judge, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        added = {key: list(value) if isinstance(value, tuple) else value for key, value in self.schema}
        return handler(schema) | added | _validations(self.rules)

    def _judge(self, value: Any) -> Any:
        for rule in self.rules:
            rule.judge(value)
        return value


class Model(BaseModel):
    """Base of all models: frozen, camelCase at the wire, no unknown fields, no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, use_attribute_docstrings=True
    )
    rules: ClassVar[Sequence[Rule]] = ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.rules:
            rule.judge(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler.resolve_ref_schema(handler(schema))
        json_schema.update(_validations(cls.rules))
        return json_schema


def ordered(*, initial: bool = True, size: bool = False) -> tuple[Rule, ...]:
    """Rules of a model with `min`, `max` and perhaps `initial`: min <= initial <= max, as far as they are given.

    Args:
        initial: whether the model has that field.
        size: whether the fields are sizes instead of integers.
    """

    def rule(low: str, high: str, blamed: str, message: str) -> Rule:
        def holds(value: Any) -> bool:
            one, other = getattr(value, low), getattr(value, high)
            if one is None or other is None:
                return True
            return bool(parse_size(one) <= parse_size(other) if size else one <= other)

        less = (
            f"quantity(string(self.{low})).compareTo(quantity(string(self.{high}))) <= 0"
            if size
            else f"self.{low} <= self.{high}"
        )
        return Rule(f"!has(self.{low}) || !has(self.{high}) || {less}", message, holds, f".{blamed}")

    bounds = rule("min", "max", "min", "min must not be above max: lower min or raise max")
    if not initial:
        return (bounds,)
    return (
        bounds,
        rule("min", "initial", "initial", "initial must not be below min: raise initial or lower min"),
        rule("initial", "max", "initial", "initial must not be above max: lower initial or raise max"),
    )
