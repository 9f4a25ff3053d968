"""Our results beside the paper's: a table in Markdown, a CSV file, a plot."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.learn.runs import Run

Record = dict[str, Any]


@dataclass
class Report:
    """What a target says: records (one a row, group and metric), notes, a figure, more files."""

    title: str
    records: list[Record]
    notes: list[str]
    differences: list[Record] = field(default_factory=list)  # of `Ranks.compared`
    figure: Any = None
    tables: dict[str, list[Record]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def record(
    row: str, group: str, metric: str, ours: Sequence[float], published: float | None
) -> Record:
    """Paper, ours (mean over seeds), difference and spread (standard deviation over seeds)."""
    mean = statistics.fmean(ours)
    return {
        "row": row,
        "group": group,
        "metric": metric,
        "paper": published,
        "ours": mean,
        "difference": None if published is None else mean - published,
        "spread": statistics.stdev(ours) if len(ours) > 1 else None,
        "seeds": len(ours),
    }


GROUPS = {
    "sampled": "Against 100 sampled items",
    "full": "Against all items",
    "authors": "Against 100 items as the authors' code draws them",
    "all": "All actions",
    "train": "Train part",
    "valid": "Validation part, as training sees it",
}


def format_records(found: Sequence[Record], metrics: Sequence[str]) -> str:
    """A Markdown table for each group, readable as text; columns without a value are left out.

    Beside each metric: its spread (+-, with several seeds), the paper's figure and the difference.
    """
    blocks = []
    for group in dict.fromkeys(r["group"] for r in found):
        cells = {(r["row"], r["metric"]): r for r in found if r["group"] == group}
        columns = [["", *dict.fromkeys(row for row, _ in cells)]]
        for metric in metrics:
            titles = {"ours": metric, "spread": "+-", "paper": "paper", "difference": "diff."}
            for key, title in titles.items():
                values = [cells.get((row, metric), {}).get(key) for row in columns[0][1:]]
                if any(value is not None for value in values):
                    sign = "+" if key == "difference" else ""
                    columns.append([title, *(_number(v, metric, sign) for v in values)])
        blocks.append(f"{GROUPS[group]} ({group}):\n\n{_markdown(columns)}")
    return "\n\n".join(blocks)


def format_differences(found: Sequence[Record]) -> str:
    """A Markdown table: a row for each two models and metric, three columns for each protocol."""
    rows: dict[tuple[str, ...], dict[str, Record]] = {}
    for r in found:
        key = f"{r['one']} minus {r['other']}", r["metric"], r["seeds"], f"{r['users']:,}"
        rows.setdefault(key, {})[r["protocol"]] = r
    titles = "", "metric", "seeds", "users"
    columns = [[title, *of] for title, of in zip(titles, zip(*rows, strict=True), strict=True)]
    for protocol in dict.fromkeys(r["protocol"] for r in found):
        of_rows = [row.get(protocol) for row in rows.values()]
        interval = [f"{r['low']:+.4f} to {r['high']:+.4f}" if r else "" for r in of_rows]
        columns += [
            [protocol, *(f"{r['difference']:+.4f}" if r else "" for r in of_rows)],
            ["95% interval", *interval],
            ["p", *(f"{r['p']:.2g}" if r else "" for r in of_rows)],
        ]
    return f"Differences, by a paired bootstrap over users:\n\n{_markdown(columns)}"


def _markdown(columns: Sequence[Sequence[str]]) -> str:
    """A table that can be read as text, too; the first cell of a column is its title."""
    widths = [max(3, *map(len, column)) for column in columns]
    lines = [
        " | ".join(x.rjust(width) for x, width in zip(line, widths, strict=True))
        for line in zip(*columns, strict=True)
    ]
    rule = "|".join("-" * (width + 1) + ":" for width in widths)
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


# numbers without digits after the point
WHOLE = ("users", "items", "best epoch", "epochs", "threads")
ROUGH = ("actions/user", "actions/item", "million actions", "training s", "s/epoch")


def _number(value: float | None, metric: str, sign: str) -> str:
    if value is None:
        return ""
    digits = 0 if metric in WHOLE else 1 if metric in ROUGH else 4
    return f"{round(value, digits) + 0.0:{sign},.{digits}f}"  # + 0.0: no -0.0


def values_of(found: Sequence[Record], metric: str, key: str) -> dict[str, float]:
    """By row, the values of one column of the first table; NaN where there is none."""
    chosen = [r for r in found if (r["group"], r["metric"]) == (found[0]["group"], metric)]
    return {r["row"]: np.nan if r[key] is None else r[key] for r in chosen}


def write(report: Report, metrics: Sequence[str], out: Path) -> str:
    """Write table.md, the tables as CSV, plot.png and texts; returns the text of table.md."""
    blocks = [f"# {report.title}", format_records(report.records, metrics)]
    if report.differences:
        blocks.append(format_differences(report.differences))
    blocks.append("\n".join(f"- {note}" for note in report.notes + report.failed))
    text = "\n\n".join(blocks) + "\n"
    folder = Run(out)
    for name, content in {"table.md": text, **report.texts}.items():
        folder.write(name, partial(_write_text, content))
    tables = {"table.csv": report.records, "differences.csv": report.differences}
    for name, rows in {**tables, **report.tables}.items():
        if rows:
            buffer = io.StringIO()
            writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            folder.write(name, partial(_write_text, buffer.getvalue()))
    if report.figure is not None:
        folder.write("plot.png", lambda path: report.figure.savefig(path, dpi=120, format="png"))
    return text


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
