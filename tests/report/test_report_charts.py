import itertools
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from torrey.inverse.result import Iteration
from torrey.report import charts
from torrey.report.axes import Scale, dots, frame, linear_scale, log_scale
from torrey.report.grouping import Timing, angles_to_axis, bval_groups, timings
from torrey.report.numerals import duration, short, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (1.2e-7, "1.20×10⁻⁷"),
        (9999.6, "10000"),
        (-3.14159, "−3.14"),
        (0.0, "0"),
        (math.inf, "∞"),
    ],
)
def test_significant_digits(value, text):
    assert significant(value) == text


def test_axis_labels_name_decades():
    assert [short(v) for v in (0.0, 1e-5, 2e-5, 0.25, 1000.0, 1e6)] == [
        "0",
        "10⁻⁵",
        "2×10⁻⁵",
        "0.25",
        "1000",
        "10⁶",
    ]


def test_durations():
    assert [duration(s) for s in (8.214, 200.4, 7500)] == ["8.21 s", "3 min 20 s", "2 h 5 min"]


def test_linear_scale_maps_ends_and_clips():
    scale = Scale(0.0, 10.0, 100.0, 200.0)
    assert scale(np.array([0.0, 5.0, 10.0, 99.0])).tolist() == [100.0, 150.0, 200.0, 200.0]


def test_log_scale_is_equal_steps_a_decade():
    scale = Scale(1e-3, 1e1, 0.0, 400.0, logarithmic=True)
    assert np.allclose(scale(np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0])), [0, 100, 200, 300, 400])
    assert scale.ticks == pytest.approx([1e-3, 1e-2, 1e-1, 1.0, 10.0])


@pytest.mark.parametrize("values", [[1e-3, 3.0], [0.5, 0.5], [0.0, 1.0], [-1e4, 2e5], [1.0, math.nan]])
def test_linear_ticks_lie_inside_and_are_few(values):
    scale = linear_scale(values, 0.0, 100.0)
    assert 2 <= len(scale.ticks) <= 8
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)


@pytest.mark.parametrize("values", [[1e-8, 1e3], [0.2, 0.2], [0.011, 0.2], []])
def test_log_ticks_lie_inside_and_are_few(values):
    scale = log_scale(values, 0.0, 100.0)
    assert 2 <= len(scale.ticks) <= 9
    assert all(scale.low * 0.999 <= tick <= scale.high * 1.001 for tick in scale.ticks)


def test_bval_groups_join_jittered_values_and_keep_every_row():
    bvals = np.array([995.0, 0.0, 1005.0, 3000.0, 1000.0, 2990.0])
    groups = bval_groups(bvals)
    assert [group.label for group in groups] == ["0", "1000", "3000"]
    assert [group.rows.tolist() for group in groups] == [[1], [0, 2, 4], [3, 5]]


def test_many_bvals_keep_their_lines_and_the_legend_names_some():
    groups = bval_groups(np.repeat(np.linspace(0, 10000, 21), 3))
    assert len(groups) == 21
    assert all(len(group.rows) == 3 for group in groups)
    text = charts.legend(groups)
    assert text.count("s/mm²") == charts.LEGEND_ENTRIES
    assert "b = 0 s/mm²" in text
    assert "b = 10000 s/mm²" in text


def test_timings_are_told_apart_by_delta_and_Delta():
    found = timings(np.array([5.0, 5.0, 8.0, 5.0]), np.array([30.0, 10.0, 10.0, 30.0]))
    assert [(t.small_delta, t.big_delta, t.rows.tolist()) for t in found] == [
        (5.0, 10.0, [1]),
        (8.0, 10.0, [2]),
        (5.0, 30.0, [0, 3]),
    ]


def test_angles_do_not_see_the_sign_of_the_axis():
    bvecs = np.array([[0, 0, 1.0], [1, 0, 0], [0, math.sqrt(0.75), 0.5], [0, 0, -1]])
    axis = np.array([0.0, 0.0, 1.0])
    assert angles_to_axis(bvecs, axis) == pytest.approx([0, 90, 60, 0])
    assert angles_to_axis(bvecs, -axis) == pytest.approx([0, 90, 60, 0])


def test_labels_are_escaped():
    nasty = '<script>alert("x")</script> & co'
    scale = Scale(0.0, 1.0, 0.0, 100.0)
    text = frame(scale, scale, x_label=nasty, y_label=nasty)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2
    curve = charts.misfit_curve(
        [Iteration(0, "<b>&", 0, 0.1, 0.0), Iteration(0, "<b>&", 1, 0.05, 0.1)], best=0
    )
    assert "<b>" not in curve
    assert "&lt;b&gt;&amp;" in curve


def test_colours_are_distinct_and_lighten_with_b():
    colours = charts.group_colours(6)
    light = [0.299 * int(c[1:3], 16) + 0.587 * int(c[3:5], 16) + 0.114 * int(c[5:7], 16) for c in colours]
    assert len(set(colours)) == 6
    # shades that rise by 20 of 255 stay apart without colour
    assert all(b - a > 20 for a, b in itertools.pairwise(light))


def test_every_dot_is_drawn_but_those_that_are_not_numbers():
    text = dots(np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 3.0]), colour="#000")
    assert text.count("h0") == 2


def _chart_of_one_measurement() -> str:
    one = np.array([0.5])
    return charts.signal_panel(
        Timing(5.0, 10.0, np.array([0])),
        bval_groups(np.array([1000.0])),
        angle=np.array([45.0]),
        measured=one,
        predicted=one,
        residual=np.zeros(1),
        signal_label="signal / S(0)",
        residual_range=1e-12,
    )


@pytest.mark.parametrize(
    "chart",
    [
        _chart_of_one_measurement(),
        charts.misfit_curve([], best=0),
        charts.misfit_curve([Iteration(0, "a", 0, 0.0, 0.0), Iteration(2, "a", 0, 0.5, 0.0)], best=2),
        charts.uncertainty_chart(np.array([1e-3, 0.2, np.inf]), shown=[0]),
        charts.uncertainty_chart(np.array([1e-3]), shown=[]),
    ],
)
def test_charts_are_well_formed_without_a_stray_number(chart):
    root = ET.fromstring(chart)
    assert root.attrib["aria-label"]
    assert "nan" not in chart
    assert "inf" not in chart.replace("infinity", "")


def test_bars_have_the_height_of_their_logarithm():
    chart = ET.fromstring(charts.uncertainty_chart(np.array([0.01, 0.1, 1.0]), shown=[0]))
    heights = [float(bar.attrib["height"]) for bar in chart.iter("rect")]
    # drawing coordinates are written with one decimal
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.3)
