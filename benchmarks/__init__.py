"""Benchmarks of fer_ray; each is a script that runs alone."""
