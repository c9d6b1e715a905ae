"""The review as one HTML file: a face, the classes, and nothing that could sway its reader."""

import base64
import json
from pathlib import Path
from typing import Any

from fer_ray.data.faces import CANNOT_TELL, NOT_VERIFIED
from fer_ray.data.inspection.sheet import data_uri
from fer_ray.data.packs.pack import Pack
from fer_ray.results.audit.beliefs import Beliefs
from fer_ray.results.audit.draw import Drawn
from fer_ray.results.audit.files import places_in

_LARGEST = 256


def write_page(drawn: Drawn, beliefs: Beliefs, pack: Pack, name: str, path: Path) -> None:
    """Write the page; the same review gives the same bytes.

    Which images these are, which were drawn by lot and which come twice is encoded: whoever opens
    the source does not read it by chance. Labels and predictions of the faces are not in the file.

    Args:
        drawn: What is shown.
        beliefs: What the run says; the page gets nothing of it but what was verified before.
        pack: The data set.
        name: Id of the review.
        path: The page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fer_ray.results", "audit"), autoescape=True, undefined=StrictUndefined
    )
    place = places_in(pack, beliefs.row[drawn.images])
    content = {
        "id": name,
        "classes": beliefs.class_names,
        "images": [data_uri(pack.images[i], _LARGEST) for i in place],
        "sealed": _sealed(drawn, beliefs, pack),
    }
    text = environment.get_template("review.html.jinja").render(
        review=content, id=name, num=len(drawn.order), class_names=beliefs.class_names
    )
    path.write_text(text, encoding="utf-8")


def _sealed(drawn: Drawn, beliefs: Beliefs, pack: Pack) -> str:
    shown = _rows(drawn.images, beliefs, pack)
    for row, is_random in zip(shown, drawn.is_random.tolist(), strict=True):
        row["sample"] = "random" if is_random else "picked"
    content = {
        "order": drawn.order.tolist(),
        "rows": shown,
        "earlier": _earlier(drawn, beliefs, pack),
    }
    return base64.b64encode(json.dumps(content).encode()).decode()


def _earlier(drawn: Drawn, beliefs: Beliefs, pack: Pack) -> list[dict[str, Any]]:
    """What a person has said before, so that the new file takes the place of the old one."""
    seen = (beliefs.verified != NOT_VERIFIED).nonzero()[0]
    rows = _rows(seen, beliefs, pack)
    drawn_again = set(drawn.again.tolist())
    for i, row in zip(seen.tolist(), rows, strict=True):
        verified = int(beliefs.verified[i])
        is_random = beliefs.is_random[i] or i in drawn_again
        row["label"] = "" if verified == CANNOT_TELL else beliefs.class_names[verified]
        row["sample"] = "random" if is_random else "picked"
    return rows


def _rows(images: Any, beliefs: Beliefs, pack: Pack) -> list[dict[str, Any]]:
    row = beliefs.row[images]
    paths = [str(pack.path[i]) for i in places_in(pack, row)]
    return [{"index": int(i), "path": path} for i, path in zip(row, paths, strict=True)]
