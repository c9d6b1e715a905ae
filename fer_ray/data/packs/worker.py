"""A process that decodes chunks for another one; it imports what decoding needs, and no torch.

It reads a line of JSON from its standard input, the `Target`, and then one for each chunk: place of
its first image, paths, boxes. To each it answers with a line on its standard output. It ends when
its input does, or soon after the process that started it has ended in any way.
"""

import json
import os
import sys
import warnings

from fer_ray.data.packs import chunks
from fer_ray.data.packs.decode import decode

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from fer_ray.data.packs.worker import main; main()"
)
"""What such a process runs, with the module search path of its parent as the argument."""


def main() -> None:
    """Serve until there is no more to do, or nobody to answer to."""
    try:
        _serve()
    except BrokenPipeError:
        os._exit(1)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed goes to standard error
    warnings.simplefilter("ignore")
    parent = os.getppid()

    def one(path: str, size: int, box: chunks.Box | None) -> chunks.One:
        if os.getppid() != parent:
            os._exit(1)
        return decode(path, size, box)

    first = sys.stdin.readline()
    if not first:
        return
    content = json.loads(first)
    target = chunks.Target(**content | {"shape": tuple(content["shape"])})
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        start, paths, boxes = json.loads(line)
        try:
            answer = chunks.file_chunk(target, start, paths, boxes, one)
        except OSError as error:  # such as a full disk
            answer = {"failed": [error.errno, error.strerror, error.filename]}
        print(json.dumps(answer), file=answers, flush=True)
