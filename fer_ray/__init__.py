"""fer_ray: facial expression recognition from noisy, imbalanced labels, tuned and scaled on Ray."""

from fer_ray.on_ray import environment

__version__ = "0.1.0"

environment.prepare()
