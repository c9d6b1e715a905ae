"""Search spaces: W&B's sweep format, distributions, conditions. Independent of Ray."""
