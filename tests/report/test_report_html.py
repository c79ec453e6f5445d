import dataclasses
import re
from html.parser import HTMLParser

import pytest
from handmade import box_mesh, make_reconstruction

from torrey.errors import FileError
from torrey.report import write_report
from torrey.report.html import render


class Resources(HTMLParser):
    """Collects what a page would load, and what it opens without closing."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.loaded += [
            f"{tag} {k}={v}" for k, v in attrs if k in {"src", "href", "srcset", "data", "action", "poster"}
        ]
        if tag in {
            "html",
            "head",
            "body",
            "main",
            "section",
            "div",
            "figure",
            "svg",
            "table",
            "script",
            "p",
            "select",
        }:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_page_loads_nothing_from_outside(reconstruction):
    page = render(reconstruction)
    parser = Resources()
    parser.feed(page)
    assert parser.loaded == []
    assert parser.open == []
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\b\s*[(\"']", page)
    assert "default-src 'none'" in page


def test_figures_of_the_page_are_those_of_the_run(reconstruction):
    page = render(reconstruction)
    for text in (
        "<b>0.00432 of S(0), rms</b>",
        f"<b>{float(reconstruction.mesh.volume):.1f} µm³</b>",
        f"<b>{float(reconstruction.mesh.surface_area):.1f} µm²</b>",
        "<b>1 min 23 s</b>",
        "<b>the misfit reached the noise</b>",
        # logspace(-2.5, 0.8, 20): 0.1 µm is passed after index 8, 0.3 µm after index 11
        "20 independent directions of change of the shape, 9 are determined better than 0.1 µm and 12 better",
        "σ = 0.0112 of S(0): noise 0.0100 and model error 0.00504",
        "122 measurements over 4 b-values and 2 timings",
        "4 starts; 1 within 5 % of the lowest misfit, 0.00432",
        "δ = 5.00 ms, Δ = 30.0 ms, 61 measurements",
        '<th scope="row">shape.n_knots</th><td>8</td>',
        '<th scope="row">torch</th><td>2.99.1</td>',
    ):
        assert text in page, text


def test_every_measurement_is_a_dot_in_the_scatter(reconstruction):
    scatter = re.search(
        r'aria-label="Predicted against measured signal">(.*?)</svg>', render(reconstruction)
    )[1]
    assert scatter.count("h0") == 122


def test_measurements_without_gradient_have_no_angle(reconstruction):
    panels = re.findall(
        r'aria-label="Measured and predicted signal, [^"]*">(.*?)</svg>', render(reconstruction)
    )
    # 60 of 61 measurements a timing, as dots of the signal and of the residual
    assert [panel.count("h0") for panel in panels] == [120, 120]


def test_text_from_outside_is_escaped_and_braces_stay_text(small_mesh):
    nasty = "</script><script>alert(1)</script> {{viewer}}"
    base = make_reconstruction(small_mesh, settings={nasty: {"a": nasty}, "versions": {"x<y": nasty}})
    page = render(dataclasses.replace(base, stop_reason=nasty))
    assert "<script>alert" not in page
    assert page.count("{{viewer}}") == page.count("&lt;script&gt;alert(1)&lt;/script&gt; {{viewer}}") == 5
    assert page.count("<script") == 2


def test_signals_in_cubic_micrometres_are_labelled_so(small_mesh):
    page = render(make_reconstruction(small_mesh, normalised=False))
    assert "signal (µm³)" in page
    assert "signal / S(0)" not in page


def test_more_timings_than_panels_are_announced(reconstruction):
    import torch

    acquisition = reconstruction.acquisition
    many = dataclasses.replace(acquisition, big_delta=10.0 + torch.arange(122, dtype=torch.float64) % 15)
    page = render(dataclasses.replace(reconstruction, acquisition=many))
    assert page.count('aria-label="Measured and predicted signal,') == 12
    assert "The 12 timings with most measurements are drawn" in page


def test_a_thousand_vertices_stay_below_two_megabytes():
    mesh = box_mesh(4, 4, 39, size=(3.0, 3.0, 30.0))
    assert mesh.n_vertices == 1000
    assert len(render(make_reconstruction(mesh, n_parameters=40)).encode()) < 2_000_000


def test_report_that_cannot_be_written_is_a_file_error(reconstruction, tmp_path):
    with pytest.raises(FileError, match=r"nowhere/report\.html: cannot write the report"):
        write_report(reconstruction, tmp_path / "nowhere" / "report.html")
