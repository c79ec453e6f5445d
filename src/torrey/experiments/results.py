"""The files that an experiment leaves: tables, figures, a page with both, and the raw results."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..report.markup import figure, package_text
from ..text_files import write_text
from .figures import figures_of
from .recipe import Recipe
from .store import Record, TaskStore
from .tables import long_table, main_table, raw_table

STYLE = ".wide{overflow-x:auto}.wide th,.wide td{width:auto;white-space:nowrap;overflow-wrap:normal}"

PAGE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    "<title>{title}</title><style>{style}</style></head><body>"
    "<header><h1>{title}</h1><p>{text}</p></header><main>"
    '<section>{table}</section><section><div class="charts">{figures}</div></section>'
    "<section>{details}</section></main></body></html>\n"
)


def write_results(folder: Path, recipe: Recipe, records: Sequence[Record], store: TaskStore) -> list[Path]:
    """Write table, details, raw results, an SVG for each figure and report.html; return their paths.

    Raises
    ------
    FileError
        When the folder cannot be written.
    """
    main, summary = main_table(recipe, records), long_table(recipe, records)
    drawn = figures_of(recipe, records, store)
    failed = [record for record in records if record.error is not None]
    text = f"{len(records) - len(failed)} of {len(records)} fits ended. Mean ± standard deviation (number)."
    page = PAGE.format(
        title=escape(recipe.title),
        style=package_text("style.css") + STYLE,
        text=escape(text),
        table=main.as_html("d′ (µm)"),
        figures="".join(figure(item.caption, item.svg) for item in drawn),
        details=summary.as_html("All that was measured"),
    )
    texts = {
        "table.tsv": main.as_tsv(),
        "table.md": f"# {recipe.title}\n\n{main.as_markdown()}",
        "summary.tsv": summary.as_tsv(),
        "results.tsv": raw_table(recipe, records).as_tsv(),
        **{f"{item.name}.svg": item.svg + "\n" for item in drawn},
        "report.html": page,
    }
    for name, content in texts.items():
        write_text(folder / name, content)
    return [folder / name for name in texts]
