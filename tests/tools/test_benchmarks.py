"""The parts of the benchmarks that need no time: what the chart shows, what peers are asked."""

import sys

import pytest
from helpers import PROJECT

sys.path.insert(0, str(PROJECT / "benchmarks"))
import chart
import full


def row(name, case, ours, **peers):
    return {"object": name, "case": case, "ours": ours, "peers": peers}


def test_the_chart_has_a_line_for_each_object_and_direction():
    rows = [
        row("objs", "load", 1.0, pickle=4.0, joblib=30.0),
        row("dicts", "new file", 0.5, pickle=2.0, joblib=50.0),
        row("dicts", "full memo", 0.5, pickle=2.0),
        row("datetime", "dump", 0.1, pickle=0.05, pyfory=0.2),
        row("forest_deep", "new file", 0.1, **{"bare write": 0.1}),
        row("unknown", "load", 1.0, pickle=2.0),
    ]
    drawn = [(line.object, line.direction, line.ratios) for line in chart.lines_of(rows)]
    assert drawn == [
        ("dicts", "dump", {"pickle": 4.0, "joblib": 100.0}),
        ("objs", "load", {"pickle": 4.0, "joblib": 30.0}),
        ("datetime", "dump", {"pickle": 0.5}),  # slower than a peer: shown as well
    ]


def test_lines_of_one_object_stand_together():
    lines = chart.lines_of(
        [row("dicts", case, 1.0, pickle=2.0) for case in ("new file", "load")]
        + [row("objs", "load", 1.0, pickle=2.0)]
    )
    assert chart.places_of(lines) == [0.0, -1.0, -2.5]


def test_numbers_are_short():
    assert [chart.number(ratio) for ratio in (0.52, 9.94, 10.2, 244.4)] == [
        "0.5",
        "9.9",
        "10",
        "244",
    ]


def test_without_rows_there_is_no_chart(tmp_path):
    with pytest.raises(SystemExit, match="no rows"):
        chart.draw([], {"packages": {}}, tmp_path / "chart.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["records", "instances", "texts", "small_arrays", "weights"])
def test_each_object_comes_back_the_same(name, tmp_path, monkeypatch):
    monkeypatch.setattr(full, "LEAST_SECONDS", 0)
    path = str(tmp_path / "file")
    for peer in ("fastpersist", "pickle"):
        dump = full.work("dump", name, 1000, peer, path)
        load = full.work("load", name, 1000, peer, path)
        assert dump["is"] == load["is"] and dump["size"] > 1000
        assert dump["seconds"] > 0 and load["peak"] >= 0


def test_the_report_says_what_a_peer_cannot():
    done = {"dump": 0.002, "dump_peak": 1 << 20, "size": 3 << 20, "load": 1.5, "load_peak": 0}
    rows = [
        {"object": "records", "n": 1000, "peer": "pickle", **done},
        {"object": "records", "n": 1000, "peer": "safetensors", "cannot": "arrays | only"},
        {"object": "array", "n": 8000, "peer": "joblib", **done, "cannot_map": "no"},
    ]
    lines = full.report(rows, "here").splitlines()
    assert "| pickle | 2 ms | 1.50 s |  | 3 | 1 | 0 |  |" in lines
    assert "| safetensors | cannot: arrays / only |" in lines
    assert "| | map: no |" in lines
    assert "## records, 1,000 objects" in lines and "## array, 8,000 bytes" in lines


def test_labels_of_lines_keep_apart():
    assert full.ends_apart({1.0, 1.1, 3.0}, 0.5) == {1.0: 1.0, 1.1: 1.5, 3.0: 3.0}
