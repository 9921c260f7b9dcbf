"use strict";
/* Tables of the class "sortable": their heads sort, within each body. A form of the class "filter" hides rows. */

function sortBy(header) {
  const column = header.cellIndex;
  const numeric = "numeric" in header.dataset;
  const ascending = header.ariaSort !== "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const value = row => row.cells[column].dataset.value;
  const compare = (a, b) => numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
  for (const body of header.closest("table").tBodies) {
    const rows = Array.from(body.rows).filter(row => !row.classList.contains("group"));
    rows.sort((a, b) => {
      if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
      return (ascending ? 1 : -1) * compare(value(a), value(b));
    });
    body.append(...rows);
  }
}

for (const header of document.querySelectorAll(".sortable th[scope=col]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  button.addEventListener("click", () => sortBy(header));
  header.append(button);
}

const form = document.querySelector("form.filter");
if (form) {
  const rows = Array.from(document.querySelectorAll(".sortable tbody tr"));
  const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
  const { words, marked } = form.elements;
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    for (const row of rows)
      row.hidden = !wanted.every(word => texts.get(row).includes(word)) || (marked.checked && !("marked" in row.dataset));
    const shown = rows.filter(row => !row.hidden).length;
    form.querySelector("[role=status]").textContent = `${shown} of ${rows.length} cases`;
  };
  for (const button of document.querySelectorAll("button[data-words]"))
    button.addEventListener("click", () => { words.value = button.dataset.words; filter(); });
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", filter);
  form.hidden = false;
  filter();
}
