"""Reports an audit: a table and a sentence per attack, an HTML page, JSON and pictures.

The report's folder holds photographs of the face: it is for their owner alone.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.console import Console
from rich.table import Table
from rich.text import Text

from privhead_ns.audit import deepfake, off_the_shelf, paper_table
from privhead_ns.audit.recogniser import Image
from privhead_ns.audit.result import AttackResult, percent
from privhead_ns.folders import whole_folder
from privhead_ns.text_files import write_json

WARNING = "This report shows photographs of the face: keep it on the machine of their owner."
PICTURE_SIZE = 160
"""Longer side in pixels of the page's pictures."""
SHARES = (
    "detected",
    "verified",
    "matched",
    "falsely matched",
    "matched at 1 % false",
    "matched at 1 % of unswapped",
    "nearer than target",
    "follows the colours",
)
"""Figures that are shown as percentages, beside every rank-1."""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 } th, td { padding: .25rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
figure { display: inline-block; margin: 0 1rem 1rem 0 } figcaption { font-size: 13px; color: #555 }
img { image-rendering: pixelated; margin-right: 2px } .drawing { image-rendering: auto; max-width: 100% }
.bad { color: #a00 } .warning { background: #fee; padding: .6rem }
"""


@dataclass(frozen=True)
class Verdict:
    """Results of all attacks with one recogniser."""

    recogniser: str
    threshold: float
    attacks: list[AttackResult]
    limit: float | None
    """Recognition above which an attack fails; None for no limit."""

    def fails(self, attack: AttackResult) -> bool:
        """Returns whether an attack exceeds the limit."""
        over = self.limit is not None and attack.recognition is not None and attack.recognition > self.limit
        return attack.failed or over

    @property
    def failed(self) -> bool:
        """Whether any attack fails."""
        return any(self.fails(attack) for attack in self.attacks)


def write_report(output_dir: Path, verdicts: Sequence[Verdict], about: dict[str, Any]) -> None:
    """Writes report.html, audit.json and pictures into a private folder that appears whole or not at all."""
    with whole_folder(output_dir) as folder:
        (folder / "report.html").write_text(page(verdicts, about), encoding="utf-8")
        write_json(folder / "audit.json", in_json(verdicts, about))
        attacks = verdicts[0].attacks
        save_picture(folder / "audit.png", {key: views for attack in attacks for key, views in attack.pictures.items()})
        for attack in attacks:
            if attack.title == deepfake.TITLE and attack.pictures:
                save_picture(folder / "deepfake.png", attack.pictures, deepfake.COLUMNS)
        for verdict in verdicts:
            for name, drawing in (pair for attack in verdict.attacks for pair in attack.drawings.items()):
                (folder / f"{name}-{verdict.recogniser}.png").write_bytes(png(drawing))


def table_lines(verdicts: Sequence[Verdict]) -> list[paper_table.Line]:
    """Returns what all recognisers make of the first attack's exhibits, beside the paper's figures."""
    first = {v.recogniser: attack for v in verdicts for attack in v.attacks if attack.title == off_the_shelf.TITLE}
    return paper_table.lines(first)


def comparison(verdicts: Sequence[Verdict]) -> Table:
    """Returns `table_lines` as a table for a terminal."""
    return paper_table.table(table_lines(verdicts))


def in_json(verdicts: Sequence[Verdict], about: dict[str, Any]) -> dict[str, Any]:
    """Returns everything but the pictures."""
    return {
        **about,
        "failed": any(verdict.failed for verdict in verdicts),
        "audits": [
            {
                "recogniser": verdict.recogniser,
                "threshold": verdict.threshold,
                "limit": verdict.limit,
                "attacks": [
                    {
                        "title": attack.title,
                        "recognition": attack.recognition,
                        "failed": verdict.fails(attack),
                        "sentence": attack.sentence,
                        "figures": attack.rows,
                    }
                    for attack in verdict.attacks
                ],
            }
            for verdict in verdicts
        ],
        "comparison": [asdict(line) for line in table_lines(verdicts)],
    }


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Prints a table of all figures, and each attack's sentence."""
    for attack in verdict.attacks:
        if attack.rows:
            console.print(table(attack))
        console.print(Text.assemble((attack.title, "bold"), ": ", attack.sentence))
        if verdict.fails(attack):
            console.print("[bold red]This fails the audit.[/bold red]")
        console.print()


def table(attack: AttackResult) -> Table:
    """Returns an attack's figures."""
    columns = column_names(attack)
    result = Table("", title=attack.title)
    for column in columns:
        result.add_column(column, justify="right")
    for label, figures in attack.rows.items():
        result.add_row(label, *(shown(column, figures.get(column)) for column in columns))
    return result


def column_names(attack: AttackResult) -> list[str]:
    """Returns the names of an attack's figures in their order."""
    return list(dict.fromkeys(name for figures in attack.rows.values() for name in figures))


def shown(name: str, value: float | None) -> str:
    """Formats a figure for the tables."""
    if value is None:
        return "–"
    if name in SHARES or name.startswith("rank-1"):
        return percent(value)
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def page(verdicts: Sequence[Verdict], about: dict[str, Any]) -> str:
    """Returns the report as one page that needs no other file."""
    body = ["<h1>What can be learned from what leaves the machine</h1>", f'<p class="warning">{WARNING}</p>']
    body.append(f"<p>{html.escape(', '.join(f'{key}: {value}' for key, value in about.items()))}.</p>")
    rows = [[line.recogniser, line.measure, *line.cells] for line in table_lines(verdicts)]
    body += [f"<h2>{paper_table.TITLE}</h2>", *html_table(["", "", *off_the_shelf.COLUMNS], rows)]
    body.append(f"<p>{paper_table.NOTE}</p>")
    for verdict in verdicts:
        body.append(f"<h2>Recogniser {html.escape(verdict.recogniser)}, threshold {verdict.threshold:g}</h2>")
        for attack in verdict.attacks:
            body += section(attack, verdict.fails(attack))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Privacy audit</title>'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>"
    )


def section(attack: AttackResult, failed: bool) -> list[str]:
    """Returns an attack's part of the page."""
    parts = [f"<h3>{html.escape(attack.title)}</h3>", f"<p>{html.escape(attack.sentence)}</p>"]
    if failed:
        parts.append('<p class="bad">This fails the audit.</p>')
    for label, pictures in attack.pictures.items():
        images = "".join(f'<img alt="" src="{data_uri(picture)}">' for picture in pictures)
        parts.append(f"<figure>{images}<figcaption>{html.escape(label)}</figcaption></figure>")
    parts += [
        f'<p><img class="drawing" alt="" src="{data_uri(drawing, None)}"></p>' for drawing in attack.drawings.values()
    ]
    if attack.rows:
        columns = column_names(attack)
        rows = [
            [label, *(shown(name, figures.get(name)) for name in columns)] for label, figures in attack.rows.items()
        ]
        parts += html_table(["", *columns], rows)
    return parts


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table of the page."""
    cells = [
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in [("th", head), *(("td", row) for row in rows)]
    ]
    return ["<table>", *(f"<tr>{row}</tr>" for row in cells), "</table>"]


def data_uri(picture: Image, size: int | None = PICTURE_SIZE) -> str:
    """Returns a picture, so many pixels large or as it is, as a PNG within the page."""
    scale = 1 if size is None else size / max(picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    resized = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
    return f"data:image/png;base64,{base64.b64encode(png(resized)).decode()}"


def png(picture: np.ndarray) -> bytes:
    """Returns a picture as a PNG."""
    return np.asarray(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]).tobytes()


def save_picture(path: Path, rows: dict[str, list[Image]], columns: Sequence[str] = ()) -> None:
    """Writes a PNG with a row of views for everything that was attacked or made by an attack."""
    width = max(len(pictures) for pictures in rows.values())
    figure = Figure(figsize=(1.6 * width + 1, 1.6 * len(rows)), dpi=110, layout=ConstrainedLayoutEngine())
    axes = figure.subplots(len(rows), width, squeeze=False)
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(label.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=8)
        for cell in line:
            cell.set(xticks=[], yticks=[])
            cell.spines[:].set_visible(False)
        for cell, picture in zip(line, pictures, strict=False):
            cell.imshow(picture)
    for cell, title in zip(axes[0], columns, strict=False):
        cell.set_title(title, fontsize=8)
    FigureCanvasAgg(figure).print_png(path)
