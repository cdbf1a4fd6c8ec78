"""Management of the audit."""
