"""The router of a site whose ledger has a database of its own."""

APP = "livegate_audit"


class LedgerRouter:
    def db_for_read(self, model, **hints):
        return "ledger" if model._meta.app_label == APP else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "ledger") == (app_label == APP)
