"""What commands share: arguments, folders, error messages, signals, tables."""
