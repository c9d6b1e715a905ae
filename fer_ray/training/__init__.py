"""One run: networks, loop, evaluation, checkpoints. Knows ranks, but no Ray and no W&B."""
