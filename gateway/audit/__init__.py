"""The audit: who was shown what, when and why, and who was not. A Django app of its own, ``livegate.gateway.audit``."""
