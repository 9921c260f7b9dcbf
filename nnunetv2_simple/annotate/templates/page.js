"use strict";
// Keys go to Python through a hidden text field; the help and the wheel are all that is done here.
const KEYS = new Set(["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Backspace", "Delete", ..."12345npraflgmszytkc+-"]);
const help = document.getElementById("help");
let count = 0;

function toggleHelp() {
  if (help.open) help.close(); else help.showModal();
}

document.getElementById("help-button").addEventListener("click", toggleHelp);
document.addEventListener("keydown", event => {
  if (event.key === "?") { toggleHelp(); return; }
  const target = event.composedPath()[0];
  if (help.open || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
  if (event.ctrlKey && event.key !== "z" && event.key !== "y") return;
  if (!KEYS.has(event.key)) return;
  event.preventDefault();
  count += 1;
  Bokeh.documents[0].get_model_by_name("keys").value = `${event.key} ${count}`;
});
// the wheel scrolls slices, and with Ctrl it zooms them, not the page
document.querySelectorAll(".plane").forEach(plane =>
  plane.addEventListener("wheel", event => event.preventDefault(), { passive: false }));
