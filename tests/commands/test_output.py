"""Where a command prints: for people, for programs, or nowhere."""

import argparse
import json

import pytest

from fer_ray.commands.output import add_output_arguments, command_output
from fer_ray.commands.process import InterruptedRunError
from fer_ray.core.errors import ConfigError

pytestmark = pytest.mark.lowest


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_output_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        ((), "for people\nof a library\n", ""),
        (("--quiet",), "", ""),
        (("--json",), '{"status": "done", "recall": null}\n', "for people\nof a library\n"),
        (("--json", "--quiet"), '{"status": "done", "recall": null}\n', ""),
    ],
)
def test_each_reader_has_a_stream(
    words: tuple[str, ...], out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with command_output(arguments(*words)) as output:
        output.console.print("for people")
        print("of a library")
        output.result("done", recall=float("nan"))
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x: expected y"), "bad_input"),
        (InterruptedRunError("x: expected y"), "interrupted"),
    ],
)
def test_a_program_learns_why_there_is_no_result(
    error: Exception, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), command_output(arguments("--json")):
        raise error
    assert json.loads(capsys.readouterr().out) == {"status": status, "error": "x: expected y"}


def test_a_failure_is_said_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with command_output(arguments("--json", "--quiet")) as output:
        assert output.failed("no trial has a result", folder="runs/x") == 1
    printed = capsys.readouterr()
    assert printed.err == "error: no trial has a result\n"
    assert json.loads(printed.out)["folder"] == "runs/x"
