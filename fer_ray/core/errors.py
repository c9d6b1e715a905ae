"""The errors of a configuration and of a machine; data and storage have their own."""


class ConfigError(ValueError):
    """A configuration cannot run; the message says where, what was expected and what came."""


class StartError(RuntimeError):
    """What a command needs does not start on this machine; the message says what to check."""
