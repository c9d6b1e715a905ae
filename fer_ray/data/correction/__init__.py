"""Writes the labels of a data set anew, with what a person has said, in the data set's format."""
