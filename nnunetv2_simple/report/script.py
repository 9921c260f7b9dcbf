"""The script of the report: draws the figures when they come into sight, in the colours of the page."""

SCRIPT = """
"use strict";
/* Only buttons that work on the figure; plotly's own set also offers to send the data to its makers. */
const BUTTONS = {
  flat: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  scene: [["resetCameraDefault3d", "toImage"]] };
const CONFIG = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" };

/* Put the page's colours in the place of their names. */
function coloured(content, style) {
  if (typeof content === "string")
    return content.startsWith("var(") ? style.getPropertyValue(content.slice(4, -1)).trim() : content;
  if (Array.isArray(content)) return content.map(part => coloured(part, style));
  if (content === null || typeof content !== "object") return content;
  return Object.fromEntries(Object.entries(content).map(([name, part]) => [name, coloured(part, style)]));
}

class Figure {
  constructor(element) {
    this.plot = element.querySelector(".plot");
    this.note = element.querySelector(".note");
    this.lists = Array.from(element.querySelectorAll("select"));
    this.overlay = element.querySelector("input");
    this.data = JSON.parse(element.querySelector("script").textContent);
    this.drawn = false;
    element.querySelector("form")?.addEventListener("input", () => this.draw());
    element.querySelector("form")?.addEventListener("submit", event => event.preventDefault());
    this.note.innerHTML = this.variant().note;
  }
  variant() { return this.data.variants[this.lists.map(list => list.value).join("-")]; }
  draw() {
    const style = getComputedStyle(document.documentElement);
    const variant = this.variant();
    const traces = variant.traces.map(place => coloured(this.data.traces[place], style));
    if (this.overlay)
      for (const trace of traces) if (trace.meta === "overlay") trace.visible = this.overlay.checked;
    this.note.innerHTML = variant.note;
    this.drawn = true;
    const buttons = variant.layout.scene ? BUTTONS.scene : BUTTONS.flat;
    return Plotly.react(this.plot, traces, coloured(variant.layout, style), { ...CONFIG, modeBarButtons: buttons });
  }
}

const figures = new Map(Array.from(document.querySelectorAll(".interactive"), e => [e, new Figure(e)]));
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    observer.unobserve(entry.target);
    figures.get(entry.target).draw();
  }
}, { rootMargin: "600px" });
for (const element of figures.keys()) observer.observe(element);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const figure of figures.values()) if (figure.drawn) figure.draw();
});
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const figure of figures.values()) if (!figure.drawn) figure.draw();
});
"""
