from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from analysis.offline.traces import COLUMNS, find_traces, read_trace
from rollout.errors import PlanError
from tests.unit.analysis.frames import recorded_frame

HEADER = ",".join(COLUMNS)
GOOD = """\
-5,stable,,requests_total,,100
-5,stable,,duration_ms_bucket,100,90
-5,stable,,duration_ms_bucket,+Inf,100
0,stable,,requests_total,,200
0,canary,,requests_total,,0
0,canary,,weight,,0.2
"""


def written(tmp_path: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PlanError) as caught:
        read_trace(path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_trace_is_read_as_a_tidy_frame(tmp_path: Path):
    frame = recorded_frame(read_trace(written(tmp_path, f"{HEADER}\n{GOOD}")))

    assert list(frame.columns) == ["time", "track", "pod", "metric", "le", "value"]
    assert frame["time"].tolist() == [-5, -5, -5, 0, 0, 0]
    assert frame["track"].tolist() == ["stable"] * 4 + ["canary"] * 2
    assert frame["le"].tolist()[1:3] == [100, np.inf]
    assert frame["value"].tolist() == [100, 90, 100, 200, 0, 0.2]


def test_columns_may_come_in_any_order_with_others_between_them(tmp_path: Path):
    text = "value,note,le,metric,pod,track,timestamp\n7,x,,requests_total,a,stable,1\n"

    frame = recorded_frame(read_trace(written(tmp_path, text)))

    assert frame.iloc[0].tolist()[:4] == [1.0, "stable", "a", "requests_total"]


def test_a_byte_order_mark_windows_lines_and_empty_last_lines_are_no_faults(tmp_path: Path):
    text = f"{HEADER}\n{GOOD}\n\n".replace("\n", "\r\n")

    assert len(read_trace(written(tmp_path, b"\xef\xbb\xbf" + text.encode())).time) == 6


def table(**changes: pa.Array) -> pa.Table:
    columns = {
        "timestamp": pa.array([0.0, 0.0, 5.0]),
        "track": pa.array(["stable", "stable", "stable"]),
        "pod": pa.array([None, None, "a"], pa.string()),
        "metric": pa.array(["requests_total", "duration_ms_bucket", "requests_total"]),
        "le": pa.array([None, "+Inf", None]),
        "value": pa.array([1.0, 2.0, 3.0]),
    }
    return pa.table(columns | changes)


def test_parquet_holds_the_same_columns(tmp_path: Path):
    parquet.write_table(table(), tmp_path / "trace.parquet")

    frame = recorded_frame(read_trace(tmp_path / "trace.parquet"))

    assert frame["pod"].tolist() == ["", "", "a"]
    assert frame["le"].tolist()[1] == np.inf
    assert frame["value"].tolist() == [1, 2, 3]


def test_parquet_may_hold_edges_as_numbers_and_counts_as_integers(tmp_path: Path):
    changed = table(le=pa.array([None, float("inf"), None]), value=pa.array([1, 2, 3]), timestamp=pa.array([0, 0, 5]))
    parquet.write_table(changed, tmp_path / "trace.parquet")

    frame = recorded_frame(read_trace(tmp_path / "trace.parquet"))

    assert frame["le"].tolist()[1] == np.inf
    assert frame["time"].tolist() == [0, 0, 5]


def test_a_fault_in_parquet_names_the_row(tmp_path: Path):
    parquet.write_table(table(value=pa.array([1.0, float("nan"), 3.0])), tmp_path / "trace.parquet")
    parquet.write_table(table().drop_columns(["le"]), tmp_path / "short.parquet")

    assert refusal(tmp_path / "trace.parquet") == "row 2: value is nan, allowed: a finite number"
    assert refusal(tmp_path / "short.parquet").startswith("schema: column le is missing")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("-1,stable,,requests_total,,1", "timestamp -1 comes after 0, allowed: rows in order of time"),
        ("x,stable,,requests_total,,1", "timestamp is 'x', allowed: a number"),
        (",stable,,requests_total,,1", "timestamp is nan"),
        ("1767607200000,stable,,requests_total,,1", "allowed: seconds; these look like milliseconds"),
        ("5,blue,,requests_total,,1", "track is 'blue', allowed: stable, baseline, canary"),
        ("5,stable,,,,1", "metric is empty"),
        ("5,stable,,requests_total,,NaN", "value is nan"),
        ("5,stable,,requests_total,,", "value is nan"),
        ("5,stable,,requests_total,,inf", "value is inf"),
        ("5,stable,,requests_total,,-3", "requests_total is -3, allowed: counters of 0 or more"),
        ("5,stable,,checkout_failures_total,,-3", "checkout_failures_total is -3"),
        ("5,canary,,weight,,20", "weight is 20, allowed: a share from 0 to 1"),
        ("5,stable,,duration_ms_bucket,,1", "le is '', allowed: an upper edge above 0, or +Inf"),
        ("5,stable,,duration_ms_bucket,wide,1", "le is 'wide'"),
        ("5,stable,,requests_total,100,1", "le is '100' on requests_total"),
        ("0,canary,,weight,,0.5", "a second row for 0 canary '' weight ''"),
        ("5,stable,,requests_total", "Expected 6 columns, got 4"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(row: str, said: str, tmp_path: Path):
    message = refusal(written(tmp_path, f"{HEADER}\n{GOOD}{row}\n9,stable,,requests_total,,300\n"))

    assert "line 8" in message
    assert said in message


def test_two_spellings_of_an_edge_are_the_same_edge(tmp_path: Path):
    rows = "0,stable,,duration_ms_bucket,100,1\n0,stable,,duration_ms_bucket,100.0,1\n"

    assert refusal(written(tmp_path, f"{HEADER}\n{rows}")).startswith("line 3: a second row for 0 stable")


def test_the_first_of_several_faults_is_the_one_that_is_named(tmp_path: Path):
    rows = "0,stable,,requests_total,,1\n1,stable,,requests_total,,-1\n0,blue,,requests_total,,NaN\n"

    assert refusal(written(tmp_path, f"{HEADER}\n{rows}")).startswith("line 3: requests_total is -1")


def test_a_gauge_may_be_negative(tmp_path: Path):
    read_trace(written(tmp_path, f"{HEADER}\n0,stable,,requests_total,,1\n0,stable,,temperature,,-4\n"))


def test_a_trace_without_requests_is_refused_and_told_what_is_judged(tmp_path: Path):
    said = refusal(written(tmp_path, f"{HEADER}\n0,stable,,requests,,1\n"))

    assert said.startswith("metric: got requests, allowed: requests_total, errors_total, ")


def test_a_missing_column_is_named(tmp_path: Path):
    said = refusal(written(tmp_path, "timestamp,track,pod,metric,value\n0,stable,,requests_total,1\n"))

    assert said.startswith("line 1: column le is missing, allowed: ")


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n\x00", b'{"a": 1}\n', b"a;b\n1;2\n", b"\xff\xfe\x00", b"\n\n"]
)
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path):
    assert refusal(written(tmp_path, content)).startswith("line 1: not a trace, allowed: a CSV or Parquet file")


def test_a_file_cut_short_missing_or_empty_of_rows_is_refused(tmp_path: Path):
    parquet.write_table(table(), tmp_path / "whole.parquet")
    cut = written(tmp_path, (tmp_path / "whole.parquet").read_bytes()[:-9], "cut.parquet")

    assert refusal(cut)
    assert "No such file" in refusal(tmp_path / "absent.csv")
    assert "no rows" in refusal(written(tmp_path, HEADER + "\n"))
    assert refusal(tmp_path)  # a folder


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path):
    assert "line 2" in refusal(written(tmp_path, HEADER.encode() + b"\n0,stable,\xff\xfe,requests_total,,1\n"))


@given(noise=st.binary(max_size=200))
def test_no_bytes_whatever_end_in_anything_but_a_trace_or_one_line_of_error(noise: bytes, tmp_path_factory):
    path = written(tmp_path_factory.mktemp("noise"), f"{HEADER}\n{GOOD}".encode() + noise)

    said = ""
    try:
        read_trace(path)
    except PlanError as error:
        said = str(error)

    assert "\n" not in said


def test_the_traces_of_a_folder_are_found_by_name(tmp_path: Path):
    for name in ("b.csv", "a.parquet", "notes.txt"):
        (tmp_path / name).touch()

    assert [path.name for path in find_traces(tmp_path)] == ["a.parquet", "b.csv"]
