"""Recorded traces, read from CSV and Parquet files and checked to the line.

Columns `timestamp,track,pod,metric,le,value`, one row a sample, in order of time. Reading and checking work on
whole columns: a trace of 35,000 rows takes about 20 ms.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from analysis.offline.recording import COLUMNS, Labels, Trace, first_fault
from analysis.scrapes.samples import BUCKET, COUNT, ERRORS, REQUESTS, SUM
from rollout.errors import PlanError

ANSWER = "answer"
"""The column that may be there beside the others."""
METRICS = (REQUESTS, ERRORS, BUCKET, SUM, COUNT, "restarts_total", "weight")
"""What is judged; more may be there."""
_TEXTS = ("track", "pod", "metric", "le", ANSWER)
_TEXT = pa.dictionary(pa.int32(), pa.string())
_TYPES = {name: _TEXT if name in _TEXTS else pa.float64() for name in (*COLUMNS, ANSWER)}
_ALLOWED = f"allowed: a CSV or Parquet file with the columns {','.join(COLUMNS)}"


def find_traces(folder: Path) -> tuple[Path, ...]:
    """Return the trace files of a folder, by name."""
    return tuple(sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".parquet") and path.is_file()))


def read_trace(path: Path) -> Trace:
    """Return the trace that a CSV or Parquet file holds.

    Raises
    ------
    PlanError
        The file is no trace; names the file, the line (in a Parquet file the row), and what is allowed.
    """
    start = b""
    try:
        with path.open("rb") as file:
            start = file.readline(4096)
        is_parquet = start.startswith(b"PAR1")
        table = _read_parquet(path) if is_parquet else _read_csv(path, start)
    except (OSError, pa.ArrowException) as error:
        raise PlanError(f"{path}: {_describe_error(error, _names(start))}") from error
    trace = _trace(path.stem, table)
    if not len(trace.time):
        raise PlanError(f"{path}: no rows, allowed: at least one sample")
    if fault := first_fault(trace):
        place = f"row {fault.row + 1}" if is_parquet else f"line {fault.row + 2}"
        raise PlanError(f"{path}: {place}: {fault.message}")
    if REQUESTS not in trace.metric.categories:
        recorded = ", ".join(sorted(category for category in trace.metric.categories if category))
        raise PlanError(
            f"{path}: metric: got {recorded}, allowed: {', '.join(METRICS)} and others, {REQUESTS} in any case"
        )
    return trace


def _read_csv(path: Path, header: bytes) -> pa.Table:
    names = _names(header)
    if missing := [name for name in COLUMNS if name not in names]:
        problem = "not a trace" if len(missing) == len(COLUMNS) else f"column {missing[0]} is missing"
        raise PlanError(f"{path}: line 1: {problem}, {_ALLOWED}")
    return csv.read_csv(
        path,
        # One thread and no skipped lines: then the numbers of rows, also in Arrow's own errors, are those of lines.
        read_options=csv.ReadOptions(use_threads=False),
        parse_options=csv.ParseOptions(ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(column_types=_TYPES, include_columns=_present(names)),
    )


def _names(header: bytes) -> list[str]:
    return header.decode("utf-8-sig", errors="replace").strip().replace('"', "").split(",")


def _read_parquet(path: Path) -> pa.Table:
    names = parquet.read_schema(path).names
    if missing := [name for name in COLUMNS if name not in names]:
        raise PlanError(f"{path}: schema: column {missing[0]} is missing, {_ALLOWED}")
    present = _present(names)
    table = parquet.read_table(path, columns=present, read_dictionary=[name for name in _TEXTS if name in present])
    return pa.table({name: _cast(table[name], _TYPES[name]) for name in present})


def _present(names: list[str]) -> list[str]:
    return [name for name in (*COLUMNS, ANSWER) if name in names]


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if wanted != _TEXT:
        return column.cast(wanted)
    encoded = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    return encoded.cast(_TEXT)


def _describe_error(error: Exception, names: list[str]) -> str:
    """Return an error's words in one line; a bad cell is told by its line and the name of its column."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if cell := re.search(r"In CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", text):
        return f"line {cell[2]}: {names[int(cell[1])]} is {cell[3]!r}, allowed: a number"
    return " ".join(text.split()).replace("Row #", "line ")


def _trace(name: str, table: pa.Table) -> Trace:
    if ANSWER not in table.column_names:
        table = table.append_column(ANSWER, pa.nulls(len(table), _TEXT))
    columns = {column: _whole(table[column]) for column in (*COLUMNS, ANSWER)}
    time, value = (columns[column].to_numpy(zero_copy_only=False) for column in ("timestamp", "value"))
    track, pod, metric, le, answer = (_labels(columns[column]) for column in _TEXTS)
    end = len(time)
    while end and np.isnan(time[end - 1]) and np.isnan(value[end - 1]) and not track.categories[track.codes[end - 1]]:
        end -= 1  # empty lines at the end of a file are no samples
    cut = {"track": track, "pod": pod, "metric": metric, "le": le, ANSWER: answer}
    return Trace(
        name=name,
        time=time[:end],
        value=value[:end],
        **{column: Labels(each.codes[:end], each.categories) for column, each in cut.items()},
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.unify_dictionaries().chunks) if column.num_chunks else pa.array([], column.type)


def _labels(column: pa.DictionaryArray) -> Labels:
    categories = [str(category) if category is not None else "" for category in column.dictionary.to_pylist()]
    if "" not in categories:
        categories.append("")
    codes = column.indices.fill_null(categories.index("")).to_numpy(zero_copy_only=False)
    return Labels(codes, tuple(categories))
