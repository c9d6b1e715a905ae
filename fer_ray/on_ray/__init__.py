"""Everything that imports Ray; no other folder does."""
