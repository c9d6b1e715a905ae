"""An inspection as one HTML page that needs nothing else: no network, no script, no other file."""

import math
from pathlib import Path
from typing import Any

from fer_ray.data.faces import DataError
from fer_ray.data.inspection.inspection import (
    NUM_LISTED,
    Inspection,
    copy_facts,
    counted,
    share_text,
)
from fer_ray.data.inspection.sheet import contact_sheet, disagreeing_figures, pair_cards
from fer_ray.data.packs.pack import Pack
from fer_ray.data.records import SUBSETS
from fer_ray.record.html import page_environment


def write_page(inspection: Inspection, pack: Pack, path: Path) -> None:
    """Write the page; the same inspection gives the same bytes.

    Raises:
        DataError: If the file cannot be written.
    """
    text = _render(inspection, pack)
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise DataError.at(
            str(path),
            expected="a file that can be written",
            got=str(error.strerror),
            remedy="Choose another place for the page.",
        ) from None


def _render(inspection: Inspection, pack: Pack) -> str:
    """Fill the template, which escapes all text."""
    environment = page_environment("fer_ray.data", "inspection")
    environment.filters |= {
        "thousands": lambda num: f"{num:,}",
        "width": lambda share: f"{100 * min(1.0, max(0.0, share)) if share == share else 0.0:.1f}",
    }
    return environment.get_template("page.html.jinja").render(
        found=inspection,
        num_listed=NUM_LISTED,
        num_leaks=int(inspection.num_leaks.sum()),
        summary=_summary(inspection),
        class_head=("class", *SUBSETS, *(["wrong labels"] if inspection.learnt.any() else [])),
        classes=_classes(inspection),
        confusion=_confusion(inspection) if inspection.learnt.any() else (),
        copies=copy_facts(inspection),
        leaks=pair_cards(pack, inspection.leaks),
        near=pair_cards(pack, inspection.near),
        disagreeing=disagreeing_figures(inspection, pack),
        problem_kinds=", ".join(f"{n:,} {kind}" for kind, n in inspection.num_problems.items()),
        problems=[(one.kind, one.path, one.listed, one.reason) for one in inspection.problems],
        sizes=_sizes(inspection),
        sheet=contact_sheet(pack),
    )


def _summary(inspection: Inspection) -> str:
    subsets = inspection.counts.sum(axis=0) + inspection.unlabelled
    parts = [f"{num:,} {name}" for name, num in zip(SUBSETS, subsets, strict=True)]
    facts = [
        f"{counted(inspection.num_images, 'image')} ({', '.join(parts)})",
        f"{len(inspection.class_names)} classes",
        f"imbalance {inspection.imbalance:.1f}",
    ]
    if inspection.learnt.any():
        facts.append(f"{share_text(inspection.total_wrong_share)} wrong labels")
    return "; ".join(facts)


def _classes(inspection: Inspection) -> list[dict[str, Any]]:
    """A row per class, a bar per subset, as long as its share of the subset's largest class."""
    is_known = bool(inspection.learnt.any())
    largest = inspection.counts.max(axis=0).clip(1)
    rows: list[dict[str, Any]] = []
    for name, counts, wrong in zip(
        inspection.class_names, inspection.counts, inspection.wrong_share, strict=True
    ):
        cells = [
            {"text": f"{num:,}", "share": num / most, "kind": "bar"}
            for num, most in zip(counts, largest, strict=True)
        ]
        if is_known:
            cells.append({"text": share_text(wrong), "share": float(wrong), "kind": "bar bad"})
        rows.append({"name": name, "cells": cells, "is_dim": False})
    if inspection.unlabelled.any():
        none = [f"{num:,}" for num in inspection.unlabelled] + [""] * is_known
        cells = [{"text": text, "share": 0.0, "kind": ""} for text in none]
        rows.append({"name": "no label", "cells": cells, "is_dim": True})
    return rows


def _confusion(inspection: Inspection) -> list[dict[str, Any]]:
    """Cells are shaded by the share of the true class."""
    rows = []
    for i, (name, line) in enumerate(zip(inspection.class_names, inspection.learnt, strict=True)):
        total = max(1, int(line.sum()))
        cells = [
            {
                "text": f"{num:,}",
                "color": "var(--fill)" if i == j else "var(--bad)",
                "percent": f"{70 * num / total:.0f}",
            }
            for j, num in enumerate(line)
        ]
        right = share_text(line[i] / line.sum() if line.any() else math.nan)
        rows.append({"name": name, "cells": cells, "right": right})
    return rows


def _sizes(inspection: Inspection) -> list[tuple[str, str, str]]:
    names = ("smallest", "median", "largest")
    rows = [
        (name, f"{height} x {width}", "")
        for name, (height, width) in zip(names, inspection.size_range, strict=True)
    ]
    return rows + [
        ("", f"{height} x {width}", f"{num:,}") for height, width, num in inspection.sizes
    ]
