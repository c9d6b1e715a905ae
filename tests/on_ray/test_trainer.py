"""Ray's own words while workers train."""

import logging
import sys

import pytest

from fer_ray.on_ray.trainer import quiet_ray

PRIVATE = "ray.train.v2._internal.execution.context"


def test_ray_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.train.v2._internal.execution.context as context

    levels = {name: logging.getLogger(name) for name in ("ray.train", str(context.__file__))}
    for logger in levels.values():
        monkeypatch.setattr(logger, "level", logging.INFO)
    quiet_ray()
    assert {logger.level for logger in levels.values()} == {logging.ERROR}


def test_ray_without_its_private_module_is_quiet_too(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("ray.train")
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setitem(sys.modules, PRIVATE, None)
    quiet_ray()
    assert logger.level == logging.ERROR
