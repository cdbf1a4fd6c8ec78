"""Management commands of the audit."""
