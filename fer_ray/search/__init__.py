"""A search space: W&B's sweep format, distributions, conditions. Knows no Ray."""
