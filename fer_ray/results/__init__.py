"""What follows a run or a search: the best trial is tested once, and its files are written."""
