"""What commands write: tables, JSON, files, logs."""
