"""Everything that runs on Ray; nothing outside this folder imports it."""
