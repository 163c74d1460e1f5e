"""The decision core. Pure: values in, values out; no clock, no I/O, no framework."""
