"""Pages in HTML from templates, into which text from files can go as it is."""

from typing import TYPE_CHECKING, Any

from fer_ray.record.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment(package: str, folder: str) -> "Environment":
    """The templates in a folder of a package, which escape all text and leave out control codes.

    A name that a template does not know is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        """All text that is given, but not what the template itself has made."""
        is_text = isinstance(value, str) and not isinstance(value, Markup)
        return "\n".join(map(printable, value.split("\n"))) if is_text else value

    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
    )
