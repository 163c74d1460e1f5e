"""PromQL by construction: selectors that hold whatever a user writes, and sums that count a pod once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from agentscaler.frameworks.preset import Metric, MetricKind
from agentscaler.signals.errors import InvalidOverride
from agentscaler.signals.servers import Server

MOST_NAMESPACES: Final = 100
"""Above this many, queries are no longer narrowed by namespace."""
SIGNAL: Final = "signal"
"""Label that tells the results of one query apart."""
OBJECT: Final = "obj"
"""Label that holds the name of the Deployment."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REGEX_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")
_POD_OF_DEPLOYMENT = "(.+)-[a-z0-9]+-[a-z0-9]{5}"
_OF_ANY_PROCESS = "(container|go|process|python|dotnet|scrape|kube|promhttp|net_conntrack)_.*|up"
_NARROWED = "\0"
"""Where the matcher of the namespaces goes. Strings of users are quoted, and so never hold it."""


def quote(text: str) -> str:
    """A PromQL string that means exactly `text`.

    Raises:
        InvalidOverride: The text holds half of a surrogate pair, which no UTF-8 can carry.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidOverride("a matcher holds characters that are not valid Unicode") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def one_of(values: tuple[str, ...]) -> str:
    """A regular expression (RE2, anchored by Prometheus) that matches exactly these values."""
    return "|".join(_REGEX_SPECIAL.sub(r"\\\1", value) for value in values)


def matcher(label: str, value: str) -> str:
    """One matcher: exact, or a regular expression where the value starts with `~`.

    Raises:
        InvalidOverride: The label is no label name of a user.
    """
    if not _LABEL.fullmatch(label) or label.startswith("__"):
        raise InvalidOverride(f"{label!r} is no label name: use letters, digits and '_', not starting with '__'")
    return f"{label}=~{quote(value[1:])}" if value.startswith("~") else f"{label}={quote(value)}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How PromQL is written for one server: its labels, its mandatory matchers, its scrape interval."""

    server: Server
    namespaces: tuple[str, ...] | None = None
    """Sorted; every selector is narrowed to them. None: `narrowed` does it later."""

    def select(self, metric: Metric, suffix: str = "") -> str:
        """The selector of a metric, mandatory matchers and namespaces included.

        Raises:
            InvalidOverride: Name or labels are not valid.
        """
        if not _METRIC.fullmatch(metric.name):
            raise InvalidOverride(f"{metric.name!r} is no metric name: use letters, digits, '_' and ':'")
        name = metric.name
        if metric.kind is MetricKind.HISTOGRAM:
            name = name.removesuffix("_bucket") + suffix
        matchers = [matcher(label, value) for label, value in metric.matchers]
        matchers += [f"{label}={quote(value)}" for label, value in self.server.matchers]
        text = f"{name}{{{','.join(matchers)}{_NARROWED}}}"
        return text if self.namespaces is None else self.narrowed(text, self.namespaces)

    def narrowed(self, text: str, namespaces: Collection[str]) -> str:
        """PromQL of a dialect without namespaces, with every selector narrowed to some.

        Args:
            text: The PromQL.
            namespaces: In any order; more than `MOST_NAMESPACES`, or none, leave it as wide as it is.
        """
        if not 0 < len(namespaces) <= MOST_NAMESPACES:
            return text.replace(_NARROWED, "")
        only = f"{self.server.namespace_label}=~{quote(one_of(tuple(sorted(namespaces))))}"
        return text.replace("{" + _NARROWED, "{" + only).replace(_NARROWED, "," + only)

    def per_pod(self, vector: str, within: str = "sum", across: str = "max", keep: str = "") -> str:
        """One value per pod, labelled with its object.

        Args:
            vector: Any expression that keeps the labels of its series.
            within: Aggregation over the series of one scrape target.
            across: Aggregation over the targets of one pod: a pod that two jobs scrape must not count twice.
            keep: A further label to keep, `le` for one.
        """
        names = self.server
        kept = f",{keep}" if keep else ""
        targets = ",".join(names.target_labels)
        inner = f"{within} by ({names.namespace_label},{names.pod_label},agent_deployment,{targets}{kept})({vector})"
        by_name = f'label_replace({inner},"{OBJECT}","$1","{names.pod_label}","{_POD_OF_DEPLOYMENT}")'
        by_label = f'label_replace({by_name},"{OBJECT}","$1","agent_deployment","(.+)")'
        return f"{across} by ({names.namespace_label},{names.pod_label},{OBJECT}{kept})({by_label})"

    def per_object(self, aggregation: str, vector: str, keep: str = "") -> str:
        """One value per object out of one per pod."""
        kept = f",{keep}" if keep else ""
        return f"{aggregation} by ({self.server.namespace_label},{OBJECT}{kept})({vector})"

    def rate(self, metric: Metric, window: int) -> str:
        """Events per second of a counter; of a histogram, its observations; of a gauge, its mean over the window."""
        if metric.kind is MetricKind.GAUGE:
            return _scaled(metric, f"avg_over_time({self.select(metric)}[{window}s])")
        if metric.kind is MetricKind.HISTOGRAM:
            return self.histogram_part(metric, "count", window)
        return _scaled(metric, f"rate({self.select(metric)}[{window}s])")

    def histogram_part(self, metric: Metric, part: str, window: int) -> str:
        """Rate of `sum` or `count` of a histogram, classic or native; a series stored both ways counts once."""
        classic = f"rate({self.select(metric, '_' + part)}[{window}s])"
        native = f"histogram_{part}(rate({self.select(metric)}[{window}s]))"
        both = f"({classic} or {native})"
        return _scaled(metric, both) if part == "sum" else both

    def quantile(self, metric: Metric, quantile: float, window: int) -> str:
        """Quantile of an object's histogram, classic or native."""
        classic, native = self.buckets(metric, window)
        both = f"(histogram_quantile({quantile!r},{classic}) or histogram_quantile({quantile!r},{native}))"
        return _scaled(metric, both)

    def buckets(self, metric: Metric, window: int) -> tuple[str, str]:
        """Rates of an object's buckets: a classic expression by `le`, and one of native histograms."""
        classic = self.per_pod(f"rate({self.select(metric, '_bucket')}[{window}s])", keep="le")
        # max does not know histograms; the targets of one pod see the same counts, so their mean is as good
        native = self.per_pod(f"rate({self.select(metric)}[{window}s])", across="avg")
        return self.per_object("sum", classic, keep="le"), self.per_object("sum", native)

    def share_above(self, metric: Metric, bound: float, window: int) -> str:
        """Share of an object's observations above a bound; of a classic histogram only where a bucket ends there.

        Args:
            metric: A histogram.
            bound: In seconds.
            window: Seconds.
        """
        at = round(bound / metric.scale, 9)
        ends = one_of(tuple(sorted({repr(at), repr(at).removesuffix(".0")})))
        bucket = replace(metric, matchers=(*metric.matchers, ("le", f"~{ends}")))
        below = self.per_object("sum", self.per_pod(f"rate({self.select(bucket, '_bucket')}[{window}s])"))
        total = self.per_object("sum", self.per_pod(f"rate({self.select(metric, '_count')}[{window}s])"))
        _, native = self.buckets(metric, window)
        return f"clamp_min(1 - ({below} / ({total} > 0) or histogram_fraction(0, {at!r}, {native})), 0)"

    def names(self, namespace: str, workload: str) -> str:
        """Names of all series of an object's pods but those that every process, container and scrape has."""
        pods = f"{one_of((workload,))}-[a-z0-9]+-[a-z0-9]{{5}}"
        matchers = [
            f"__name__!~{quote(_OF_ANY_PROCESS)}",
            f"{self.server.namespace_label}={quote(namespace)}",
            *(f"{label}={quote(value)}" for label, value in self.server.matchers),
        ]
        by_pod = "{" + ",".join([f"{self.server.pod_label}=~{quote(pods)}", *matchers]) + "}"
        by_label = "{" + ",".join([f"agent_deployment={quote(workload)}", *matchers]) + "}"
        return f"group by (__name__) ({by_pod} or {by_label})"

    def value(self, metric: Metric) -> str:
        """The last value of a gauge."""
        return _scaled(metric, self.select(metric))

    def fresh(self, metric: Metric, within_seconds: float) -> str:
        """The last value of a gauge, where its sample is young enough at the evaluation time."""
        bare = self.select(metric)
        return _scaled(metric, f"({bare} and (timestamp({bare}) > time() - {within_seconds:g}))")

    def sample_time(self, metric: Metric) -> str:
        """Unix time of the last sample of each series. Only a bare selector has one."""
        if metric.kind is MetricKind.HISTOGRAM:
            return f"(timestamp({self.select(metric, '_count')}) or timestamp({self.select(metric)}))"
        return f"timestamp({self.select(metric)})"


def tagged(row: str, expression: str) -> str:
    """The expression with the name of the row that it yields."""
    return f'label_replace({expression},"{SIGNAL}","{row}","","")'


def union(expressions: list[str]) -> str:
    """Tagged expressions as one query."""
    return "\nor ".join(expressions)


def _scaled(metric: Metric, expression: str) -> str:
    return expression if metric.scale == 1.0 else f"({metric.scale!r} * {expression})"
