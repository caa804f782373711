"""The file of a spool: rows in SQLite, checked when it is opened, and rescued where it is damaged."""
