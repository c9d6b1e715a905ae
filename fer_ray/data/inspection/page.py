"""An inspection as one HTML page that needs nothing else: no network, no script, no other file."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fer_ray.data.faces import DataError
from fer_ray.data.inspection.inspect import (
    NUM_LISTED,
    Inspection,
    copy_facts,
    counted,
    share_text,
)
from fer_ray.data.inspection.sheet import contact_sheet, disagreeing_figures, pair_figures, shown
from fer_ray.data.inspection.subject import Subject
from fer_ray.data.records import SPLITS

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --dim: #6a7078; --paper: #fff; --line: #e2e5e9;
  --fill: #0072b2; --bad: #b4470a; --bad-paper: #fdf1e8; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa1aa; --paper: #15171a;
  --line: #30343a; --fill: #4aa8dd; --bad: #f0935a; --bad-paper: #2e2019; --card: #1e2126; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem clamp(.8rem, 3vw, 2.5rem) 4rem;
  background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: .5rem 0 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.2rem; }
h3 { margin: 1.2rem 0 .4rem; font-size: 1rem; }
small, .dim { color: var(--dim); font-weight: normal; }
.warnings { margin: 1.2rem 0; padding: .8rem 1rem .8rem 2rem; border-left: 4px solid var(--bad);
  background: var(--bad-paper); border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--dim); font-weight: normal; }
table.plain td { overflow-wrap: anywhere; min-width: 5rem; }
table.matrix th, table.matrix td { padding: .2rem .3rem; }
table.matrix th + th { text-align: right; }
table.bars { width: 100%; table-layout: fixed; }
table.bars th:first-child { width: 6.5rem; }
.bar { display: block; height: .45rem; margin-top: .15rem; border-radius: 2px;
  background: var(--fill); }
.cell { display: block; padding: 0 .4rem; border-radius: 2px; text-align: right; }
.bar.bad { background: var(--bad); }
.wrong { color: var(--bad); }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 3px;
  background: var(--line); }
figcaption { margin-top: .2rem; font-size: .78rem; line-height: 1.3; overflow-wrap: anywhere; }
.sheet { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(5rem, 1fr)); }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.card { padding: .6rem; border-radius: 6px; background: var(--card); }
.card p { margin: .4rem 0 0; font-size: .85rem; color: var(--dim); }
.pair { display: grid; gap: .6rem; grid-template-columns: 1fr 1fr; }
"""


def write_page(inspection: Inspection, subject: Subject, path: Path) -> None:
    """Write the page; the same inspection gives the same bytes.

    Raises:
        DataError: If the file cannot be written.
    """
    title = shown(inspection.name)
    body = "\n".join(part for part in _sections(inspection, subject) if part)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: inspection</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise DataError.at(
            str(path),
            expected="a file that can be written",
            got=str(error.strerror),
            remedy="Choose another place for the page.",
        ) from None


def _sections(inspection: Inspection, subject: Subject) -> Iterator[str]:
    """Everything between `<body>` and its end, in the order of the page."""
    yield f"<h1>{shown(inspection.name)}</h1>\n{_summary(inspection)}"
    yield _list(inspection.warnings, "warnings")
    yield f"<h2>Classes</h2>\n{_classes(inspection)}"
    if inspection.learnt.any():
        yield "<h2>Given labels by true class, training and validation images</h2>"
        yield _confusion(inspection)
    yield f"<h2>Copies</h2>\n{_table((), copy_facts(inspection))}"
    pictures = (
        ("Held-out images and what they copy", int(inspection.num_leaks.sum()), inspection.leaks),
        ("Training images that are nearly the same", inspection.num_near or 0, inspection.near),
    )
    for title, num, pairs in pictures:
        if pairs:
            yield f"{_heading(title, num)}\n{pair_figures(subject, pairs)}"
    if inspection.disagreeing:
        yield _heading("Equal images with different labels", inspection.num_disagreeing)
        yield disagreeing_figures(inspection, subject)
    if inspection.problems:
        yield f"<h2>Images that cannot be used</h2>\n{_problems(inspection)}"
    yield f"<h2>Original sizes, height x width</h2>\n{_sizes(inspection)}"
    yield f"<h2>Training images by given label</h2>\n{contact_sheet(subject)}"
    if inspection.notes:
        yield f"<h2>Notes</h2>\n{_list(inspection.notes, 'notes')}"


def _heading(title: str, num: int) -> str:
    """Says so where not all are shown."""
    more = f" <small>{NUM_LISTED} of {num:,}</small>" if num > NUM_LISTED else ""
    return f"<h2>{title}{more}</h2>"


def _summary(inspection: Inspection) -> str:
    splits = inspection.counts.sum(axis=0) + inspection.unlabelled
    parts = [f"{num:,} {name}" for name, num in zip(SPLITS, splits, strict=True)]
    facts = [
        f"{counted(inspection.num_images, 'image')} ({', '.join(parts)})",
        f"{len(inspection.class_names)} classes",
        f"imbalance {inspection.imbalance:.1f}",
    ]
    if inspection.learnt.any():
        facts.append(f"{share_text(inspection.total_wrong_share)} wrong labels")
    return f'<p class="dim">{"; ".join(facts)}</p>'


def _list(lines: Sequence[str], name: str) -> str:
    items = "".join(f"<li>{shown(line)}</li>" for line in lines)
    return f'<ul class="{name}">{items}</ul>' if lines else ""


def _classes(inspection: Inspection) -> str:
    """A row per class, a bar per split, as long as its share of the split's largest class."""
    is_known = bool(inspection.learnt.any())
    largest = inspection.counts.max(axis=0).clip(1)
    rows = []
    for name, counts, wrong in zip(
        inspection.class_names, inspection.counts, inspection.wrong_share, strict=True
    ):
        cells = [f"{num:,}{_bar(num / most)}" for num, most in zip(counts, largest, strict=True)]
        if is_known:
            cells.append(f"{share_text(wrong)}{_bar(wrong, 'bar bad')}")
        rows.append((shown(name), *cells))
    if inspection.unlabelled.any():
        none = [f"{num:,}" for num in inspection.unlabelled] + [""] * is_known
        rows.append(('<span class="dim">no label</span>', *none))
    head = ("class", *SPLITS, *(["wrong labels"] if is_known else []))
    return _table(head, rows, kind="bars")


def _bar(share: float, kind: str = "bar") -> str:
    width = 100 * min(1.0, max(0.0, share)) if share == share else 0.0
    return f'<span class="{kind}" style="width:{width:.1f}%"></span>'


def _confusion(inspection: Inspection) -> str:
    """Cells are shaded by the share of the true class."""
    rows = []
    for i, (name, line) in enumerate(zip(inspection.class_names, inspection.learnt, strict=True)):
        cells = []
        total = max(1, int(line.sum()))
        for j, num in enumerate(line):
            color = "var(--fill)" if i == j else "var(--bad)"
            shade = f"color-mix(in srgb, {color} {70 * num / total:.0f}%, transparent)"
            cells.append(f'<span class="cell" style="background:{shade}">{num:,}</span>')
        rows.append(
            (shown(name), *cells, share_text(line[i] / line.sum() if line.any() else math.nan))
        )
    return _table(("true", *map(shown, inspection.class_names), "right"), rows, kind="matrix")


def _problems(inspection: Inspection) -> str:
    kinds = ", ".join(f"{num:,} {kind}" for kind, num in inspection.num_problems.items())
    columns = ("kind", "path", "listed", "reason")
    rows = [[shown(getattr(one, name)) for name in columns] for one in inspection.problems]
    return f"<details><summary>{shown(kinds)}</summary>\n{_table(columns, rows)}</details>"


def _sizes(inspection: Inspection) -> str:
    names = ("smallest", "median", "largest")
    rows = [
        (name, f"{height} x {width}", "")
        for name, (height, width) in zip(names, inspection.size_range, strict=True)
    ]
    rows += [("", f"{height} x {width}", f"{num:,}") for height, width, num in inspection.sizes]
    return _table(("", "size", "images"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "plain") -> str:
    """Cells are HTML already."""
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    if head:
        lines.insert(0, "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in head) + "</tr>")
    return f'<div class="wide"><table class="{kind}">\n' + "\n".join(lines) + "\n</table></div>"
