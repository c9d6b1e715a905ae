"""The error of a configuration; data and storage have their own."""


class ConfigError(ValueError):
    """A configuration cannot run; the message says where, what was expected and what came."""
