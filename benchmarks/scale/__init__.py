"""How the operator behaves with many objects: `python -m benchmarks.scale`."""
