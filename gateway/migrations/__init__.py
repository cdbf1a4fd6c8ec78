"""The migrations of the app: it has no tables, and adds indexes to guardian's."""
