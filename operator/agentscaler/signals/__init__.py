"""From Prometheus to observations: PromQL templates, batched queries and the health of every signal."""
