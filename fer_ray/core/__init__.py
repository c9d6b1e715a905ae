"""Pure tensors and numbers: records, losses, mixtures, thresholds, metrics, views, label noise."""
