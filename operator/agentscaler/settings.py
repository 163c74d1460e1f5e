"""What the administrator configures, from a YAML file, the environment and flags, each over the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel, to_snake

from agentscaler.signals.servers import Server

PREFIX = "AGENTSCALER_"
_SERVER = TypeAdapter(Server)
_SERVER_FIELDS = tuple(field.name for field in fields(Server))


class SettingsError(ValueError):
    """The configuration is wrong; the text names each field and the mend."""


class OperatorSettings(BaseModel):
    """Settings of the operator. In YAML the names are camelCase; in the environment AGENTSCALER_TICK_SECONDS."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    prometheus: dict[str, Server] = Field(default_factory=dict)
    """Prometheus servers by the name that `spec.prometheus` uses; no other is ever asked."""
    default_server: str = ""
    """Server of objects that name none. Default: the one called `default`, else the only one."""
    namespaces: tuple[str, ...] = ()
    """Where the operator works; empty: in the whole cluster."""
    kubeconfig: str | None = None
    """Path of a kubeconfig. Default: in a cluster the ServiceAccount, else KUBECONFIG and `~/.kube/config`."""
    tick_seconds: Annotated[float, Field(ge=1, le=60)] = 5.0
    """Length of a tick, in seconds; objects are due by their own interval."""
    resync_seconds: Annotated[float, Field(ge=10, le=3600)] = 300.0
    """Seconds between two LISTs of everything."""
    writes_per_second: Annotated[float, Field(gt=0, le=10_000)] = 100.0
    """Writes to the API server, on average."""
    write_burst: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Writes to the API server that may go out at once."""
    leader_election: bool = False
    """Whether several operators share the work of one: one acts, the others stand by until its Lease ends."""
    lease_namespace: str = ""
    """Namespace of the Lease. Default: that of the pod that the operator runs in."""
    lease_name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")] = "agentscaler"
    """Name of the Lease; operators of one name are one."""
    health_address: str = "0.0.0.0"  # noqa: S104 (the kubelet and Prometheus come from outside of the pod)
    """Address of /livez, /readyz, /metrics and /records."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of the same; 0 takes a free one."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    object_metrics: bool = False
    """Whether /metrics has gauges for each object; with many objects these are many series."""

    @field_validator("prometheus", mode="before")
    @classmethod
    def _servers(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("write a mapping of names to servers: {default: {url: http://prometheus:9090}}")  # noqa: TRY004 (pydantic collects ValueErrors)
        return {str(name): _server(str(name), {} if given is None else given) for name, given in value.items()}

    @field_validator("namespaces", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """The environment has no lists: names between commas."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _default_is_there(self) -> OperatorSettings:
        if self.default_server and self.default_server not in self.prometheus:
            known = ", ".join(sorted(self.prometheus)) or "the servers that you write there"
            raise ValueError(f"defaultServer {self.default_server!r} is not under prometheus: name one of {known}")
        return self

    @property
    def servers(self) -> dict[str, Server]:
        """All servers, and under `default` the one that objects without a word get."""
        chosen = self.default_server or (next(iter(self.prometheus)) if len(self.prometheus) == 1 else "default")
        aliased = {"default": self.prometheus[chosen]} if chosen in self.prometheus else {}
        return {**self.prometheus, **aliased}


def load(config: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> OperatorSettings:
    """Read the settings: file, then environment, then flags. Servers of one name are merged field by field.

    Args:
        config: YAML file; None: there is none.
        environ: Environment; `AGENTSCALER_` and a field's name in capitals. `AGENTSCALER_PROMETHEUS_URL` is the URL
            of the server `default`, `AGENTSCALER_NAMESPACES` a list between commas.
        flags: Field names to values; those that are None were not given.

    Raises:
        SettingsError: A field is wrong or unknown, or the file cannot be read.
    """
    merged = _from_file(config)
    servers = merged.pop("prometheus", None) or {}
    for source in (_from_environment(environ), {key: value for key, value in flags.items() if value is not None}):
        servers = _merged_servers(servers, source.pop("prometheus", {}))
        merged.update(source)
    try:
        return OperatorSettings.model_validate({**merged, "prometheus": servers})
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(dict(detail)) for detail in error.errors(include_url=False))) from None


def _from_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{config}: {error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        # Not the error's own text: it quotes the line, and that may hold a secret.
        raise SettingsError(f"{config}{_place(error)}: this is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{config}: write a mapping of settings, such as `tickSeconds: 5`")
    return {to_snake(str(key)): value for key, value in content.items()}


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: environ[PREFIX + name.upper()]
        for name in OperatorSettings.model_fields
        if name != "prometheus" and PREFIX + name.upper() in environ
    }
    if url := environ.get(f"{PREFIX}PROMETHEUS_URL"):
        given["prometheus"] = {"default": {"url": url}}
    return given


def _merged_servers(low: Any, high: Any) -> Any:
    """Both, field by field; what is no mapping of mappings is left for the model to refuse."""
    if not isinstance(low, Mapping) or not isinstance(high, Mapping):
        return high or low
    merged = {**low, **high}
    for name, over in high.items():
        under = low.get(name)
        if isinstance(under, Mapping) and isinstance(over, Mapping):
            merged[name] = {**under, **over}
    return merged


def _server(name: str, given: Any) -> Server:
    if isinstance(given, Server):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: write its fields: {{url: http://prometheus:9090}}")  # noqa: TRY004 (as above)
    values = {to_snake(str(key)): value for key, value in given.items() if value is not None}
    if unknown := sorted(values.keys() - set(_SERVER_FIELDS)):
        raise ValueError(f"{name}.{to_camel(unknown[0])}: there is no such field: remove it or correct its name")
    pairs = {key: tuple(value.items()) for key, value in values.items() if isinstance(value, Mapping)}
    try:
        return _SERVER.validate_python({**values, **pairs, "name": name})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([name, *(to_camel(str(part)) for part in first["loc"])])
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _explain(detail: Mapping[str, Any]) -> str:
    field, *rest = detail["loc"] or ("settings",)
    path = ".".join([to_camel(str(field)), *(str(part) for part in rest)])
    mend = ": remove it or correct its name" if detail["type"] == "extra_forbidden" else ""
    return f"{path}: {str(detail['msg']).removeprefix('Value error, ')}{mend}"
