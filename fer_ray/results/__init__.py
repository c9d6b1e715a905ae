"""What comes after a run or a search: the best trial, tested once, and what is written of it."""
