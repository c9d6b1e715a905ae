"""Lists and csv files of data sets, with errors that name file and line."""

import csv
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fer_ray.data.faces import DataError

_NOT_UTF_8 = "text that is not UTF-8; save it as UTF-8, such as by iconv -f latin1 -t utf-8"


def table_lines(path: Path, num_lines: int | None = None) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of every line that is not blank; UTF-8, a BOM is left out.

    Raises:
        DataError: If the file cannot be read or is no text.
    """
    try:
        _require_file(path)
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, start=1):
                if num_lines is not None and number > num_lines:
                    return
                if line.strip():
                    yield number, line.rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _NOT_UTF_8
        raise DataError.at(
            str(path),
            expected="a text file",
            got=str(reason),
            remedy="Check the path and the file.",
        ) from None


def _require_file(path: Path) -> None:
    """Refuse a pipe, which would be waited for."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "a folder or a pipe")


def csv_header(path: Path, columns: Sequence[str]) -> list[str]:
    """Names of a csv file's columns, those of `columns` spelled as there; see `csv_rows`.

    Raises:
        DataError: If the file cannot be read.
    """
    for _, line in table_lines(path, 1):
        return _spelled(next(csv.reader([line])), columns)
    return []


def _spelled(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Names without blanks around them; upper and lower case as in `columns`, unless ambiguous."""
    header = [name.strip() for name in names]
    known = {column.lower(): column for column in columns if column not in header}
    lower = [name.lower() for name in header]
    return [
        known.get(low, name) if lower.count(low) == 1 else name
        for name, low in zip(header, lower, strict=True)
    ]


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number (from 1) and values by column name of every row of a csv file with a header.

    Blanks around names and values do not count (`icml_face_data.csv` has " pixels"), nor does upper
    or lower case of names.

    Raises:
        DataError: If the file cannot be read, lacks one of `columns`, or a row has too few or too
            many values; with the line.
    """
    csv.field_size_limit(2**24)
    try:
        _require_file(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = _spelled(next(reader, []), columns)
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError.at(
                    f"{path}:1",
                    expected=f"the columns {', '.join(columns)}",
                    got=", ".join(header)[:200] or "an empty file",
                    remedy=f"Missing: {', '.join(missing)}. Is this the right file?",
                )
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError.at(
                        f"{path}:{reader.line_num}",
                        expected=f"{len(header)} values",
                        got=f"{len(values)}",
                        remedy="Repair or delete the line.",
                    )
                row = dict(zip(header, (value.strip() for value in values), strict=True))
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        is_text = not isinstance(error, UnicodeDecodeError)
        reason = error.strerror if isinstance(error, OSError) else error if is_text else _NOT_UTF_8
        raise DataError.at(
            str(path), expected="a csv file", got=str(reason), remedy="Check the path and the file."
        ) from None


def whole_number(place: str, key: str, text: str, known: Sequence[int] | Mapping[int, str]) -> int:
    """A class id or code read from a table.

    Raises:
        DataError: If it is no whole number or none of `known`.
    """
    meaning = known if isinstance(known, Mapping) else dict.fromkeys(known, "")
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or value not in meaning:
        listed = ", ".join(f"{i} {name}".strip() for i, name in meaning.items())
        raise DataError.at(
            f"{place}: {key}",
            expected=f"one of {listed}",
            got=repr(text),
            remedy="Is this another data set's file? Repair or delete the line.",
        )
    return value
