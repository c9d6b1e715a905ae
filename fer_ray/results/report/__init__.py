"""The report of a run or of a search: one HTML page that needs nothing else."""
