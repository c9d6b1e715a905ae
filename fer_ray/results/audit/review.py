"""A review: images are drawn, a page is written, and what the draw was is kept beside it."""

import json
from pathlib import Path

import numpy as np

from fer_ray.data.packs.pack import Pack
from fer_ray.results.audit.beliefs import Beliefs
from fer_ray.results.audit.draw import Drawn, audit_id
from fer_ray.results.audit.files import places_in
from fer_ray.results.audit.page import write_page

PAGE, DRAW = "review.html", "review.json"


def write_review(drawn: Drawn, beliefs: Beliefs, pack: Pack, out: Path) -> None:
    """Write `review.html`, and `review.json`: the seed, and the weights of the images by class.

    An image drawn by lot stands for `weight` images with its given label.
    """
    name = audit_id(drawn, pack, places_in(pack, beliefs.row[drawn.images]))
    write_page(drawn, beliefs, pack, name, out / PAGE)
    lot = np.concatenate([drawn.images[drawn.is_random], drawn.again])
    by_class = []
    for number, label in enumerate(beliefs.class_names):
        num = int((beliefs.is_train & (beliefs.given == number)).sum())
        drawn_of = int((beliefs.given[lot] == number).sum())
        by_class.append(
            {
                "given": label,
                "images": num,
                "drawn_by_lot": drawn_of,
                "picked": int((beliefs.given[drawn.images[~drawn.is_random]] == number).sum()),
                "weight": round(num / drawn_of, 3) if drawn_of else None,
            }
        )
    content = {
        "review": name,
        "sample": drawn.sample,
        "seed": drawn.seed,
        "images": len(drawn.images),
        "hidden_repeats": len(drawn.order) - len(drawn.images),
        "classes": by_class,
    }
    (out / DRAW).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
