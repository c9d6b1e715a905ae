"""A reader per data set: what it lists, as `Records`; no image is decoded here."""
