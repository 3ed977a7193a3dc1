"""A text or table as a page that the report shows: one .html file, without scripts, that loads nothing."""

from html import escape

from markdown_it import MarkdownIt

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff; margin: 1.25rem 1.5rem; }
h1 { font-size: 1.25rem; line-height: 1.35; max-width: 58rem; }
h2 { font-size: 1.05rem; margin: 2rem 0 0.5rem; border-top: 1px solid #999; padding-top: 0.75rem; }
p, blockquote { max-width: 50rem; }
blockquote { margin: 0.5rem 0; padding-left: 1rem; border-left: 3px solid #0072b2; }
table { border-collapse: collapse; border-top: 2px solid #111; border-bottom: 2px solid #111; font-size: 0.82rem; }
th, td { padding: 0.25rem 0.35rem; text-align: left; vertical-align: top; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #111; vertical-align: bottom; }
td:first-child, td[style="text-align:right"] { white-space: nowrap; }
tbody tr:nth-child(even) { background: #f3f3f3; }
@media print {
  body { margin: 0; font-size: 9pt; }
  h1 { font-size: 12pt; }
  h2 { font-size: 10pt; }
  table { font-size: 8pt; }
  h2 { break-after: avoid; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  td:first-child, td[style="text-align:right"] { white-space: normal; }
}
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}</body>
</html>
"""
"""The policy makes a browser refuse anything the page might request, such as a name that looks like an image."""


def page(markdown: str) -> str:
    """An HTML page of a Markdown text whose first line is its heading; HTML in the text is shown verbatim."""
    title = markdown.partition("\n")[0].lstrip("# ")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return PAGE.format(title=escape(title), style=STYLE, body=body)
