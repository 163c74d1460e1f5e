"""The demo: one agent service through a spike, an outage, memory pressure and blindness, on real parts."""
