"""The files that a reconstruction leaves behind, above all the self-contained HTML report."""

from .html import write_report as write_report
