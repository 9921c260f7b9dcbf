"use strict";
/* The pictures of the quality page: filtered with the table, looked at one after the other, decided on. */

const figures = new Map(Array.from(document.querySelectorAll(".contacts figure"), f => [f.dataset.case, f]));
const caseOf = row => row.cells[0].dataset.value;
const visible = () =>
  Array.from(document.querySelectorAll(".quality tbody tr")).filter(row => !row.hidden).map(caseOf);

/* The pictures stand in the order of the table, and are hidden with its rows. */
const body = document.querySelector(".quality tbody");
function follow() {
  const shown = new Set(visible());
  for (const row of body.rows) {
    const figure = figures.get(caseOf(row));
    figure.hidden = !shown.has(caseOf(row));
    figure.parentNode.append(figure);
  }
}
new MutationObserver(follow).observe(body, { childList: true, subtree: true, attributeFilter: ["hidden"] });
follow();

/* What was decided stays in this browser; where a browser keeps nothing for files, it lasts as long as the page. */
const KEY = "decisions of " + document.title + location.pathname;
let decisions = {};
try { decisions = JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { /* kept with the page alone */ }
const panel = document.querySelector(".decisions");
const chosen = name => Object.keys(decisions).filter(id => figures.has(id) && decisions[id] === name);
function showDecisions() {
  for (const group of document.querySelectorAll(".decision"))
    for (const button of group.children)
      button.setAttribute("aria-pressed", String(decisions[group.dataset.case] === button.dataset.decision));
  for (const [id, figure] of figures) figure.dataset.decided = decisions[id] ?? "";
  panel.querySelector("output").textContent =
    ["accept", "redo", "exclude"].map(name => `${name} ${chosen(name).length}`).join(", ") + ` of ${figures.size}`;
  for (const button of panel.querySelectorAll("[data-save]")) button.disabled = !chosen(button.dataset.save).length;
}
function decide(id, name) {
  if (decisions[id] === name) delete decisions[id]; else decisions[id] = name;
  try { localStorage.setItem(KEY, JSON.stringify(decisions)); } catch { /* as above */ }
  showDecisions();
}
document.addEventListener("click", ({ target }) => {
  if (target.dataset?.decision) decide(target.parentNode.dataset.case, target.dataset.decision);
  if (target.dataset?.save) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([chosen(target.dataset.save).map(id => id + "\n").join("")]));
    link.download = target.dataset.save + ".txt";
    link.click();
    URL.revokeObjectURL(link.href);
  }
});
panel.hidden = !figures.size;
showDecisions();

/* The viewer goes through the cases that are shown. */
const viewer = document.querySelector("dialog.viewer");
const picture = document.createElement("img");
viewer.append(picture);
let now = "";
function view(id) {
  const shown = visible();
  now = id;
  picture.src = figures.get(id).querySelector("a").getAttribute("href");
  picture.alt = "the three planes of " + id;
  viewer.querySelector("strong").textContent = id;
  viewer.querySelector(".place").textContent = `${shown.indexOf(id) + 1} of ${shown.length}`;
  viewer.querySelector(".chosen").replaceChildren(figures.get(id).querySelector(".decision").cloneNode(true));
  if (!viewer.open) viewer.showModal();
}
function step(by) {
  const shown = visible();
  view(shown[(shown.indexOf(now) + by + shown.length) % shown.length]);
}
document.addEventListener("click", event => {
  const link = event.target.closest(".contacts a, .quality tbody th a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  view(link.closest("figure")?.dataset.case ?? caseOf(link.closest("tr")));
});
viewer.addEventListener("click", ({ target }) => {
  if (target.value === "0" || target === viewer) viewer.close();
  else if (target.value) step(Number(target.value));
});
addEventListener("keydown", event => {
  if (!viewer.open) return;
  const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), a: () => decide(now, "accept"),
    r: () => decide(now, "redo"), x: () => decide(now, "exclude") };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
