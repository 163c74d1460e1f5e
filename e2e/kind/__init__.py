"""A real cluster: kind, with containers, a kubelet and cgroups.

``engine`` finds or starts Docker, ``base`` and ``node`` make the images that a host without a registry lacks,
``images`` builds this repository's own, ``lifecycle`` brings a cluster up with all of it, and ``cluster`` is what a
scenario asks. ``python -m e2e.kind up`` leaves one up.
"""
