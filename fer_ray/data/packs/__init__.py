"""Packs: images decoded once, memory-mapped, with their labels and copies."""
