"""bench/hits runs from its traces to its plots, and judges as it says.

Goal: the scripts that measure hits are run rarely, and must not rot meanwhile.
Method: all parts in the extent `tiny`, against larder and memcached (limits mean nothing there);
the judgement, with made-up measurements; the plots, with made-up lines.
"""
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import hitslib  # noqa: E402
import hitsparts  # noqa: E402
import plot  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def measured(misses, evictions=1, hwm_kib=70000, amplification=1.0, errors=0):
    return {"m": 64, "hwm_kib": hwm_kib, "gets": 1000, "misses": misses, "unavoidable": 100,
            "errors": errors, "miss_ratio": misses / 1000, "seconds": 1, "evictions": evictions,
            "amplification": amplification, "sampled": None, "told": {}}


def verdicts(own, peer):
    """first words of each limit -> verdict"""
    found = hitsparts.judge_sizes({("c52", 64): {"larder": own, "memcached": peer}},
                                  {"c45": measured(550)}, (64,))
    return {" ".join(limit["what"].split()[:3]): limit["verdict"] for limit in found}


# ---- the whole script -----------------------------------------------------------------------

def test_all_parts_and_the_report(tmp_path):
    done = subprocess.run(
        [ROOT / "bench/hits", "--tiny", "--jobs", "4", "--traces", tmp_path / "traces", "--results",
         tmp_path / "results", "--out", tmp_path / "report.md"],
        capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = (tmp_path / "report.md").read_text()
    for part in hitsparts.PARTS:
        assert f"(`{part}`)" in report
        assert (tmp_path / f"results/{part}.json").exists()
    assert str(ROOT) not in report
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["c22.svg", "c53.svg", "calcification.svg", "overview.svg"]
    for path in (tmp_path / "plots").iterdir():
        assert ElementTree.parse(path).getroot().tag == SVG + "svg"
    again = subprocess.run(
        [ROOT / "bench/hits", "--tiny", "--report", "--traces", tmp_path / "traces", "--results",
         tmp_path / "results", "--out", tmp_path / "report.md"], capture_output=True, text=True)
    assert again.returncode == done.returncode
    assert (tmp_path / "report.md").read_text() == report


# ---- judging --------------------------------------------------------------------------------

def test_fewer_misses_in_no_more_memory_pass():
    assert set(verdicts(measured(400), measured(500)).values()) == {hitslib.PASS}


def test_points_lost_and_a_mean_that_is_too_small():
    found = verdicts(measured(503), measured(500))
    assert found["miss ratio above"] == found["fewer misses than"] == hitslib.FAIL


def test_two_thousandths_are_allowed():
    assert verdicts(measured(502), measured(500))["miss ratio above"] == hitslib.PASS


def test_memory_above_the_peers():
    found = verdicts(measured(400, hwm_kib=70001), measured(500))
    assert found["VmHWM above memcached's,"] == hitslib.FAIL


@pytest.mark.parametrize("own, peer", [(measured(150, evictions=0), measured(150, evictions=0)),
                                       (measured(100), measured(100))])
def test_a_tie_is_not_in_the_mean(own, peer):
    assert hitslib.is_tie({"larder": own, "memcached": peer})
    assert verdicts(own, peer)["fewer misses than"] == hitslib.NOT_MEASURED


def test_what_is_not_told_is_not_measured():
    found = verdicts(measured(400, amplification=None), measured(500))
    assert found["bytes copied for"] == hitslib.NOT_MEASURED


def test_amplification_needs_all_its_fields():
    told = {"copied_bytes_evicting": "30", "copied_bytes_cleaning": "20", "stored_bytes": "100"}
    assert hitslib.amplification(told) == 0.5
    assert hitsparts.cleaning_price(dict.fromkeys(told, "0"), told) == 0.2
    del told["copied_bytes_cleaning"]
    assert hitslib.amplification(told) is None


# ---- plots ----------------------------------------------------------------------------------

@pytest.mark.parametrize("low, high, ticks", [(0, 1, [0, .2, .4, .6, .8, 1]), (0, 7, [0, 2, 4, 6]),
                                              (0, .05, [0, .01, .02, .03, .04, .05])])
def test_ticks_are_round(low, high, ticks):
    assert plot.linear_ticks(low, high) == ticks


def test_memory_is_in_powers_of_two():
    assert plot.power_ticks(16, 256) == [16, 32, 64, 128, 256]


def test_a_chart_holds_what_it_is_given():
    chart = plot.Chart("a < b", "MiB", "miss ratio", [
        plot.Series("larder", [(16, .5), (64, .25)]), plot.Series("memcached", [(16, .6)], 1),
        plot.Series("nothing", [], 2)], x_powers=True, marks=((32, "here"),))
    root = ElementTree.fromstring(plot.draw(chart))
    words = [text.text for text in root.iter(SVG + "text")]
    for expected in ("a < b", "MiB", "miss ratio", "larder", "memcached", "here", "16", "64"):
        assert expected in words
    assert "prefers-color-scheme: dark" in root.find(SVG + "style").text
    assert sum("line s0" == path.get("class") for path in root.iter(SVG + "path")) == 2


def test_points_lie_in_the_frame():
    chart = plot.Chart("", "", "", [plot.Series("", [(0, 0), (3, .9)])])
    scales = plot.Scales(chart, plot.Box(10, 20, 300, 100))
    assert (scales.x(0), scales.y(0)) == (10, 120)
    assert scales.x(3) == 310 and 20 < scales.y(.9) < 40
