"""The HTML of the report, for ``string.Template``."""

STYLE = """
:root { color-scheme: light dark; --text: #1b1d21; --quiet: #666d79; --page: #ffffff; --band: #f5f6f8;
  --line: #dcdfe4; --accent: #0b57d0; --tint: #eef3fc; --second: #b3530a; --missing: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6ea; --quiet: #9aa1ac; --page: #16181c; --band: #1f2227;
  --line: #363b44; --accent: #8ab4f8; --tint: #1b2637; --second: #f0a565; --missing: #e0b060; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.6 system-ui, sans-serif; }
header, main, footer { max-width: 78rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--quiet); margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; font-weight: 600; margin: 0 0 .75rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
p { max-width: 52rem; margin: 0 0 .75rem; }
p, li { overflow-wrap: anywhere; }
section { padding: 1.75rem 0 1.25rem; }
section + section { border-top: 1px solid var(--line); }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
sub { line-height: 0; }
.result { font-size: 1.5rem; line-height: 1.4; letter-spacing: -.01em; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1.25rem 0 1.5rem; }
.facts dt { color: var(--quiet); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
nav { position: sticky; top: 0; z-index: 2; background: var(--page); border: solid var(--line); border-width: 1px 0; }
nav div { display: flex; gap: 0 1.4rem; max-width: 78rem; margin: 0 auto; padding: .55rem 1.5rem; overflow-x: auto;
  font-size: .9rem; white-space: nowrap; }
nav a { color: var(--quiet); text-decoration: none; }
nav a:hover { color: var(--accent); }
.scroll { overflow-x: auto; margin: 0 0 .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; line-height: 1.45; }
th, td { padding: .42rem .5rem; text-align: left; vertical-align: baseline; font-weight: 400; }
th:first-child, td:first-child { padding-left: .5rem; }
thead th { color: var(--quiet); vertical-align: bottom; white-space: nowrap; }
thead tr:last-child > * { border-bottom: 1px solid var(--quiet); }
thead [scope=colgroup] { border-bottom: 1px solid var(--line); text-align: center; padding-bottom: .2rem; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody th { min-width: 12rem; }
.group th { padding-top: 1.1rem; font-weight: 600; }
.group + tr > * { border-top: 0 !important; }
tr.main > * { background: var(--tint); }
tr.main > th:first-child { box-shadow: inset 3px 0 var(--accent); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.results td:nth-last-child(3) { white-space: nowrap; }
.paper { color: var(--quiet); font-style: italic; }
.paper.first { border-left: 1px solid var(--line); }
.note, .range { color: var(--quiet); font-size: .85rem; line-height: 1.5; }
.range { font-weight: 400; }
.note { max-width: 60rem; }
.missing { margin-top: .75rem; color: var(--missing); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 0 2rem; }
.pair > * { min-width: 0; }
.interactive > .note { min-height: 2.6em; margin: .25rem 0 1rem; }
.beside { display: grid; grid-template-columns: minmax(0, 520px) minmax(min(16rem, 100%), 1fr); gap: 0 3rem; }
.beside > .controls { grid-column: 1 / -1; }
.beside > .note { align-self: center; }
.pair .interactive > .note { min-height: 0; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; margin: 0 0 .5rem;
  font-size: .9rem; color: var(--quiet); }
.controls label { max-width: 100%; }
.controls select { max-width: 100%; padding: .25rem .4rem; font: inherit; color: var(--text); background: var(--page);
  border: 1px solid var(--line); border-radius: 4px; }
.controls input { accent-color: var(--accent); vertical-align: -.1em; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 45%), 1fr)); gap: .75rem; }
.panels > p { grid-column: 1 / -1; }
figure { margin: 0; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; border-radius: 3px; }
figcaption { font-size: .85rem; line-height: 1.4; padding-top: .3rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.25rem; font-size: .85rem; margin: 0; }
.legend span { display: inline-flex; align-items: center; gap: .45rem; }
.legend i { width: 1.6rem; height: 0; background: none; }
.legend span { padding: .1rem .5rem; background: #2b2e33; color: #f0f0f0; border-radius: 3px; }
.costs td:nth-child(2) { min-width: 11rem; }
.costs td:nth-child(3) { white-space: nowrap; }
details { border-bottom: 1px solid var(--line); padding: .4rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
details p { margin: .5rem 0 0; font-size: .85rem; color: var(--quiet); }
pre { margin: .25rem 0 .5rem; padding: .6rem .8rem; overflow-x: auto; background: var(--band); border-radius: 4px;
  font: .82rem/1.6 ui-monospace, monospace; }
code { font: .92em ui-monospace, monospace; }
.definitions { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1.25rem; margin: 0;
  font-size: .88rem; }
.definitions dt { color: var(--quiet); }
.definitions dd { margin: 0; color: var(--text); overflow-wrap: anywhere; }
footer { padding-bottom: 2.5rem; }
@media (max-width: 40rem) {
  header, main, footer { padding-left: 1rem; padding-right: 1rem; }
  nav div { padding-left: 1rem; }
  .result { font-size: 1.25rem; }
  .beside { grid-template-columns: minmax(0, 1fr); }
  tbody th { min-width: 9rem; }
  tbody th[scope=row] { position: sticky; left: 0; background: var(--page); }
  tr.main > th[scope=row] { background: var(--tint); }
  .definitions { grid-template-columns: 1fr; gap: 0; }
  .definitions dd { margin-bottom: .35rem; }
}
@media print {
  :root { color-scheme: light; --text: #000; --quiet: #444; --page: #fff; --band: #f5f5f5; --line: #bbb;
    --accent: #0b57d0; --tint: #f0f0f0; --second: #b3530a; --missing: #704800; }
  body { font-size: 9pt; }
  nav, .controls, .modebar { display: none; }
  figure, tr, .interactive { break-inside: avoid; }
}
"""

# the policy makes sure that the page asks for nothing outside itself; plotly compiles functions and makes blobs
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline';
 script-src 'unsafe-inline' 'unsafe-eval'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
$headline
</header>
<nav aria-label="Sections"><div>$links</div></nav>
<main>
$sections
</main>
<footer><p class="note">$footer</p></footer>
<script>$plotly</script>
<script>$script</script>
</body>
</html>
"""
