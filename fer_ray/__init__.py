"""fer_ray: facial expression recognition from noisy, imbalanced labels, tuned and scaled on Ray."""

__version__ = "0.1.0"
