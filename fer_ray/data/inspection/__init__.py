"""What there is to know of a data set before training: tables and a page."""
