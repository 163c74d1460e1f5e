"""Real parts on loopback, for the demo, the component tests and the benchmarks alike.

``tools`` builds the pinned binaries, ``cluster`` runs a control plane with simulated nodes, ``prometheus`` runs
Prometheus. Everything started here ends with the process that started it, however that one ends.
"""
