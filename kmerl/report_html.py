"""A report as one HTML page: nothing is loaded from elsewhere, nothing runs in it; the same bytes each time."""

import base64
import html

from kmerl import report_plot

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #16181d; background: #fff;
       max-width: 1080px; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2.4rem 0 .7rem; }
.sub { color: #5c6068; margin: 0 0 1.4rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.card { border: 1px solid #dfe1e5; border-radius: 8px; padding: .6rem 1rem; min-width: 8.5rem; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.card span { color: #5c6068; font-size: .82rem; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .8rem; border-bottom: 1px solid #eceef1; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
thead th { border-bottom: 2px solid #c9ccd2; } tr.last td { border-top: 2px solid #c9ccd2; font-weight: 600; }
td.text, th.text { text-align: left; white-space: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }
dt { color: #5c6068; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 0 0 1.2rem; } figure img { max-width: 100%; height: auto; }
figcaption { color: #5c6068; font-size: .86rem; max-width: 46rem; }
footer { color: #5c6068; font-size: .82rem; border-top: 1px solid #dfe1e5; margin-top: 2.5rem; padding-top: .8rem; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } figure, .card { break-inside: avoid; } }
"""

CAPTIONS = {
    "beside": "Macro AUROC of the result and of what it must be read against. A result is worth what it has more "
    "than an untrained model or a random encoder; quoted figures were not computed here.",
    "classes": "AUROC of each class with its 95 % interval over patients; in brackets its positive recordings.",
    "roc": "ROC curves. The dashed line is chance.",
    "precision_recall": "Precision-recall curves, as step functions. The dashed line is the share of positive "
    "recordings: the precision of chance.",
    "reliability": "In ten equal bins of probability, the mean probability against the share of positives (on the "
    "dashed line they agree), and in grey the share of recordings in a bin. The ECE above each is of 15 bins.",
    "sweep": "Macro AUROC with its 95 % interval over patients: the first k leads of the order, and each lead alone.",
    "support": "Positive recordings of each class; in red those without both outcomes, which are in no average.",
}


def page(title, subtitle, body, version):
    """The whole document: title and subtitle are plain text, the body's parts are HTML already."""
    footer = f"kmerl {version}: software for research, no medical device."
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="sub">{html.escape(subtitle)}</p>\n'
        + "\n".join(part for part in body if part)
        + f"\n<footer>{html.escape(footer)}</footer>\n</body>\n</html>\n"
    )


def section(heading, *parts):
    return "\n".join([f"<h2>{html.escape(heading)}</h2>", *parts])


def table(header, rows, last=False, text=()):
    """Cells are plain text; `text` names columns of words, `last` sets the last row apart."""

    def row(cells, tag, extra=""):
        marks = ['<{0}{1}>{2}</{0}>'.format(tag, ' class="text"' if i in text else "", html.escape(cell))
                 for i, cell in enumerate(cells)]
        return f"<tr{extra}>{''.join(marks)}</tr>"

    lines = [row(cells, "td", ' class="last"' if last and cells is rows[-1] else "") for cells in rows]
    return (
        f'<div class="scroll"><table>\n<thead>{row(header, "th")}</thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody>\n</table></div>"
    )


def facts(pairs):
    """Names and what they are; empty ones left out."""
    lines = [f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in pairs if value]
    return "<dl>\n" + "\n".join(lines) + "\n</dl>"


def cards(rows):
    """Large numbers: (name, value, below)."""
    lines = [
        f'<div class="card"><span>{html.escape(name)}</span><b>{html.escape(value)}</b>'
        f"<span>{html.escape(below) or '&nbsp;'}</span></div>"
        for name, value, below in rows
    ]
    return '<div class="cards">\n' + "\n".join(lines) + "\n</div>"


def listing(lines):
    return "<ul>\n" + "\n".join(f"<li>{html.escape(line)}</li>" for line in lines) + "\n</ul>" if lines else ""


def picture(subject, kind):
    """A picture of `report_plot` inside the page."""
    text, width = report_plot.svg({**report_plot.KINDS, "sweep": report_plot.sweep}[kind], subject)
    caption = CAPTIONS[kind]
    data = base64.b64encode(text.encode("utf-8")).decode("ascii")
    return (
        f'<figure><img width="{width}" alt="{html.escape(caption)}" src="data:image/svg+xml;base64,{data}">\n'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def folded(summary, lines):
    """A list that opens on demand."""
    return f"<details><summary>{html.escape(summary)}</summary>\n{listing(lines)}\n</details>" if lines else ""
