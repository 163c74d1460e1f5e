"""What users do and what goes wrong, on a real cluster: ``make e2e``."""
