"""Where rows, pictures and files go: storage, JSON lines, W&B, terminal, plots."""
