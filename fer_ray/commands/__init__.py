"""What the commands share: arguments, folders, errors as one paragraph, signals, tables."""
