"""Migrations of the audit."""
