"""The drawn faces of the default data set."""
