"""Ray's environment variables are set where Ray starts, and nowhere else."""

import subprocess
import sys

from fer_ray.on_ray.environment import RAY_SETTINGS, missing_settings


def test_every_process_gets_a_new_token() -> None:
    first, second = (missing_settings({}, has_token_file=False) for _ in range(2))
    assert first["RAY_AUTH_MODE"] == second["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]


def test_a_token_of_the_user_is_kept() -> None:
    for own in ({"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_TOKEN_PATH": "/run/secret"}):
        missing = missing_settings(own, has_token_file=False)
        assert missing["RAY_AUTH_MODE"] == "token"
        assert not missing.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    assert "RAY_AUTH_TOKEN" not in missing_settings({}, has_token_file=True)


def test_variables_of_the_user_are_kept() -> None:
    own = {**dict.fromkeys(RAY_SETTINGS, "1"), "RAY_AUTH_MODE": "disabled"}
    assert missing_settings(own, has_token_file=False) == {}
    del own["RAY_USAGE_STATS_ENABLED"]
    missing = missing_settings(own, has_token_file=False)
    assert missing == {"RAY_USAGE_STATS_ENABLED": "0"}


def test_importing_changes_no_variable_and_imports_no_ray() -> None:
    """This includes the commands, so that `--help` and bad input do not wait for Ray."""
    code = (
        "import os, sys\n"
        "before = dict(os.environ)\n"
        "import fer_ray, fer_ray.tune, fer_ray.train, fer_ray.scale, fer_ray.__main__\n"
        "assert dict(os.environ) == before\n"
        "print([x for x in ('ray', 'optuna', 'scipy.stats') if x in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
