"""A report as one HTML page that needs nothing else: no network and no other file."""

import os
from importlib.resources import files as package_files
from typing import Any

from fer_ray import __version__
from fer_ray.record.html import page_environment
from fer_ray.record.storage import Folder
from fer_ray.record.text import abbreviate, duration_text
from fer_ray.results.report import first_screen as first
from fer_ray.results.report import sections
from fer_ray.results.report.chart import figure_text
from fer_ray.results.report.importance import importances
from fer_ray.results.report.parameter_charts import importance_chart, parallel_chart
from fer_ray.results.report.reading import read_run
from fer_ray.results.report.records import CHOSEN, STATUS_TEXT, SearchFound, Trained
from fer_ray.results.report.run_charts import clean_chart, kept_chart, progress_chart, recall_chart
from fer_ray.results.report.search import read_search
from fer_ray.results.report.search_charts import curves_chart, order_chart
from fer_ray.results.report.verdict import judged_by
from fer_ray.results.run_files import names_in
from fer_ray.search.layout import REFERENCE, SEARCH


def report_html(place: str | os.PathLike[str] | Folder) -> str:
    """The report of the run or the search in a folder.

    Raises:
        RunFolderError: If it is neither, has nothing to show, or was made by another version.
        StorageError: If it cannot be read.
    """
    folder = place if isinstance(place, Folder) else Folder(place)
    names = names_in(folder)
    if SEARCH in names:
        return _render(_search_page(read_search(folder, names)))
    return _render(_run_page(read_run(folder, names)))


def _search_page(search: SearchFound) -> dict[str, Any]:
    """What the template needs of a search."""
    run = search.best_run
    head, rows = sections.trial_rows(search)
    found = importances(search)
    charts = [importance_chart(one, number) for number, one in enumerate(found, start=1)]
    return _empty() | {
        "title": f"Search {search.name}",
        "summary": _search_summary(search),
        "warnings": _search_warnings(search),
        "lead": first.lead(search, _reference_method(search)),
        "cards": first.search_cards(search, _reference_method(search)),
        "settings_head": ("parameter", "best trial", "default"),
        "settings": sections.settings_rows(search),
        "how_sure": first.how_sure(search),
        **(_test_section(run, search) if run is not None else {}),
        "search": search,
        "search_charts": _shown(order_chart(search), curves_chart(search), parallel_chart(search)),
        "importance_texts": [
            f"Not shown for {one.title}: {one.reason}." for one in found if one.reason
        ],
        "importance_charts": _shown(*charts),
        "failures": sections.failure_rows(search),
        "failure_texts": sections.failure_texts(search),
        "states": [text for text in STATUS_TEXT.values()],
        "trials_head": head,
        "trials": rows,
        "training_title": f"Training of {run.name}, the best trial" if run is not None else "",
        **(_run_sections(run) if run is not None else {}),
        "commands": sections.commands(run, search),
        "files": sections.files(run, search),
        "environment": sections.environment_rows(run),
        "place": str(search.folder),
    }


def _run_page(run: Trained) -> dict[str, Any]:
    """What the template needs of one run."""
    point, measure = judged_by(run.metric)
    if run.tested is not None:
        card, warnings = first.test_card(run.tested, point, measure), []
    else:
        card = first.validation_card(run)
        warnings = [
            "This run was not tested: it is still training, was interrupted, or is a trial that is "
            "not the best of its search. Its figures are those of validation so far."
        ]
    row = run.shown_row
    epochs = first.Card(
        title="Networks of epoch",
        value=f"{row['epoch']} of {run.epochs}",
        texts=(f"{run.metric} {figure_text(row.get(run.metric))}",),
    )
    return _empty() | {
        "title": f"Run {run.name}",
        "summary": _run_summary(run),
        "warnings": warnings,
        "cards": [card, epochs],
        "how_sure": [
            "Intervals say how far a figure would move with other images of the same kind. They do "
            "not say what another seed would change: this is one training."
        ],
        **_test_section(run, None),
        "training_title": "Training",
        **_run_sections(run),
        "commands": sections.commands(run, None),
        "files": sections.files(run, None),
        "environment": sections.environment_rows(run),
        "place": str(run.folder),
    }


def _empty() -> dict[str, Any]:
    """What the template leaves out."""
    nothing = [
        *("warnings", "lead", "cards", "settings", "how_sure", "points", "matrix", "test_charts"),
        *("search", "search_charts", "importance_texts", "importance_charts", "failures"),
        *("failure_texts", "trials", "training_texts", "run_charts", "data_rows"),
    ]
    return dict.fromkeys(nothing, ())


def _test_section(run: Trained, search: SearchFound | None) -> dict[str, Any]:
    if run.tested is None:
        return {}
    head, rows = sections.points_table(run.tested, first.comparisons(search) if search else ())
    prior = run.config.get("prediction", {}).get("prior", "trained")
    source = (run.summary or {}).get("prediction", {}).get("natural_source", "given")
    labels = "verified labels" if source == "verified" else "the given training labels"
    return {
        "points_head": head,
        "points": rows,
        "test_text": "The same predictions for three populations: as trained, natural (classes as "
        f"frequent as {labels} say) and balanced (all classes equally). Compare methods by "
        "accuracy at the natural point and by macro recall at the balanced one.",
        "matrix": sections.matrix_rows(run.tested.confusion[CHOSEN], run.class_names),
        "matrix_text": "Counts and shares of the true class; rows are true classes, columns "
        f"answers, at the operating point of the run (prediction.prior = {prior}). Intervals are "
        "Wilson's.",
        "class_names": run.class_names,
        "short_names": abbreviate(run.class_names),
        "test_charts": [recall_chart(run.tested, run.class_names)],
    }


def _run_sections(run: Trained) -> dict[str, Any]:
    head, rows = sections.data_rows(run)
    clean, kept = clean_chart(run), kept_chart(run)
    texts = []
    if clean is None and not run.split:
        texts.append("Clean probabilities are kept when a run ends and is tested.")
    elif clean is None:
        texts.append(
            f"{run.config['method']['name']} believes every label: there are no clean "
            "probabilities."
        )
    elif kept is None:
        texts.append(
            "No label is kept as it is: at these thresholds the method learns from all images what "
            "it holds to be their true label."
        )
    return {
        "run_charts": _shown(progress_chart(run), clean, kept),
        "training_texts": texts,
        "data_head": head,
        "data_rows": rows,
        "data_text": sections.data_text(run),
        "noise_head": ["true class", *abbreviate(run.class_names)],
        "noise_rows": sections.noise_rows(run),
    }


def _shown(*charts: Any) -> list[Any]:
    return [chart for chart in charts if chart is not None]


def _search_summary(search: SearchFound) -> str:
    goal = "highest" if search.mode == "max" else "lowest"
    kinds = {"bayes": "Bayesian", "random": "Random", "grid": "Grid"}
    parts = [
        f"{kinds.get(search.source.get('method', ''), 'A')} search for the {goal} {search.metric}"
    ]
    if search.best_run is not None:
        parts.append(f"method {search.best_run.config['method']['name']}")
        parts.append(f"data {search.best_run.config['data']['spec']}")
    if search.wall_s is not None:
        parts.append(f"{duration_text(search.wall_s)} in all")
    return ", ".join(parts)


def _run_summary(run: Trained) -> str:
    parts = [f"method {run.config['method']['name']}", f"data {run.config['data']['spec']}"]
    wall_s = (run.summary or {}).get("wall_s")
    if isinstance(wall_s, int | float):
        parts.append(f"trained in {duration_text(wall_s)}")
    return ", ".join(parts)


def _search_warnings(search: SearchFound) -> list[str]:
    texts = []
    if not search.has_ended:
        texts.append(
            "This search has not ended: it still runs or was interrupted. All figures are those of "
            "validation so far; the test comes at the end. To go on, add --name "
            f"{search.name} --resume to its command."
        )
    if search.best is None:
        texts.append(
            "No trial has a result, so there is no best configuration. What went wrong is listed "
            "below."
        )
    return texts


def _reference_method(search: SearchFound) -> str:
    section = search.source.get("reference") or {}
    method = section.get("method", REFERENCE)
    return str(method.get("name", REFERENCE) if isinstance(method, dict) else method)


def _render(context: dict[str, Any]) -> str:
    """Fill the template, which escapes all text."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = page_environment("fer_ray.results", "report")
    environment.filters["script"] = Markup  # its `<` are escapes of JSON already
    environment.filters["breakable"] = _breakable
    own = package_files("fer_ray.results.report")
    return environment.get_template("page.html.jinja").render(
        context,
        sections=_anchors(context),
        version=__version__,
        css=Markup(own.joinpath("page.css").read_text(encoding="utf-8")),
        js=Markup(own.joinpath("page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def _breakable(name: str) -> Any:
    """A dotted name that may break after its dots and underscores."""
    from markupsafe import Markup, escape

    return Markup(str(escape(name)).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def _anchors(context: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections of the page that are not empty."""
    found = [("verdict", "Result", True), ("test", "Test", context["points"])]
    found += [("trials", "Trials", context["search"]), ("table", "Table", context["search"])]
    found += [
        ("training", "Training", context["run_charts"]),
        ("data", "Data", context["data_rows"]),
    ]
    return [(key, name) for key, name, is_there in [*found, ("repeat", "Repeat", True)] if is_there]
