"""The HTML of the quality control page, for ``string.Template``."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Quality control: $dataset</title>
<style>
:root { color-scheme: light dark; --text: #1b1d21; --quiet: #5c6370; --page: #ffffff; --band: #f3f4f6;
  --line: #d5d8de; --link: #0b57d0; --warning: #a02000; --evaluation: #e8f3ea; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6ea; --quiet: #a0a6b1; --page: #16181c; --band: #22252b;
  --line: #3a3f48; --link: #8ab4f8; --warning: #ff9d7a; --evaluation: #1d2f23; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem 1.25rem 2rem; background: var(--page); color: var(--text);
  font: 13px/1.4 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .75rem; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 1px; }
.summary { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 .75rem; padding: 0; }
.summary div { background: var(--band); border-radius: 6px; padding: .4rem .8rem; }
.summary div.evaluation { background: var(--evaluation); }
.summary dt { color: var(--quiet); font-size: .8rem; }
.summary dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.kinds { margin: 0 0 .75rem; }
.kinds button { margin: 0 .3rem .3rem 0; padding: .1rem .6rem; border: 1px solid var(--line); border-radius: 1rem;
  background: none; color: var(--warning); font: inherit; cursor: pointer; }
details { margin: 0 0 .75rem; max-width: 75rem; }
summary { cursor: pointer; }
details dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
details dt { font-weight: 600; }
.failed summary { color: var(--warning); font-weight: 600; }
.failed dd { overflow-wrap: anywhere; }
details dd { margin: 0; }
.filter { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; margin: 0 0 .75rem; }
.filter[hidden] { display: none; }
.filter input[type=search] { width: 20rem; max-width: 60vw; padding: .3rem .5rem; font: inherit; color: inherit;
  background: var(--page); border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead { position: sticky; top: 0; z-index: 1; background: var(--band); }
thead th { vertical-align: bottom; font-weight: 600; }
th button { padding: 0; border: 0; background: none; color: inherit; font: inherit; font-weight: 600;
  text-align: inherit; cursor: pointer; }
th button::after { content: " \\2195"; content: " \\2195" / ""; color: var(--quiet); font-weight: 400; }
th[aria-sort=ascending] button::after { content: " \\25B2"; content: " \\25B2" / ""; color: inherit; }
th[aria-sort=descending] button::after { content: " \\25BC"; content: " \\25BC" / ""; color: inherit; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead .number { white-space: normal; }
.evaluation { background: var(--evaluation); }
.first-evaluation { border-left: 3px double var(--quiet); }
tbody th { font-weight: 600; overflow-wrap: anywhere; }
td ul { margin: 0; padding: 0 0 0 1rem; color: var(--warning); min-width: 11rem; overflow-wrap: anywhere; }
img { display: block; margin-top: .2rem; width: 200px; height: 89px; object-fit: cover; object-position: top;
  background: #fbfbfb; border-radius: 3px; }
@media print {
  :root { color-scheme: light; --text: #000; --quiet: #444; --page: #fff; --band: #fff; --line: #bbb; --link: #000;
    --warning: #702000; --evaluation: #f0f0f0; }
  @page { size: A4 landscape; margin: 10mm; }
  body { padding: 0; font-size: 8pt; }
  .filter { display: none; }
  thead { position: static; }
  th, td { padding: .15rem .3rem; }
  th button::after { content: none; }
  tr { break-inside: avoid; }
  img { width: 150px; height: 66px; }
  td ul { min-width: 9rem; }
}
</style>
</head>
<body>
<h1>Quality control of the pseudo-masks: $dataset</h1>
<dl class="summary">
$summary
</dl>
$failed
$kinds
<details>
<summary>What the columns mean</summary>
<dl>
$explanations
</dl>
</details>
<form class="filter" hidden>
<label>Filter <input type="search" id="words" placeholder="words in case or warnings" autocomplete="off"></label>
<label><input type="checkbox" id="only-warnings"> only with warnings</label>
<span role="status" id="shown"></span>
</form>
<table>
<thead>
$head
</thead>
<tbody>
$rows
</tbody>
</table>
<script>
"use strict";
const body = document.querySelector("tbody");
const rows = Array.from(body.rows);
const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
const form = document.querySelector(".filter");
const words = document.getElementById("words");
const onlyWarnings = document.getElementById("only-warnings");

function filter() {
  const wanted = words.value.toLowerCase().split(/\\s+/);
  let shown = 0;
  for (const row of rows) {
    const fits = wanted.every(word => texts.get(row).includes(word));
    row.hidden = !fits || (onlyWarnings.checked && !("warnings" in row.dataset));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("shown").textContent = shown + " of " + rows.length + " cases";
}

function compare(a, b, numeric) {
  return numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
}

function sort(header) {
  const column = header.cellIndex;
  const numeric = header.classList.contains("number") || "numeric" in header.dataset;
  const sign = header.ariaSort === "ascending" ? -1 : 1;
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const value = row => row.cells[column].dataset.value;
  rows.sort((a, b) => {
    if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
    return sign * compare(value(a), value(b), numeric);
  });
  body.append(...rows);
}

for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sort(button.parentNode));
for (const button of document.querySelectorAll(".kinds button"))
  button.addEventListener("click", () => { words.value = button.dataset.kind; filter(); });
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("input", filter);
form.hidden = false;
filter();
</script>
</body>
</html>
"""
