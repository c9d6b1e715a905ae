"""Measurements of fer_ray, each a script that runs alone."""
