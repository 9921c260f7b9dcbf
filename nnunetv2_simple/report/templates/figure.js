"use strict";
/* Draws the figures when they come into sight, in the colours of the page. */

/* Only buttons that work on the figure; plotly's own set also offers to send the data to its makers. */
const saving = format => ({ name: "save as " + format.toUpperCase(), icon: Plotly.Icons.camera,
  click: plot => figures.get(plot.closest(".interactive")).save(format) });
const BUTTONS = {
  flat: [["zoom2d", "pan2d", "resetScale2d", saving("svg"), saving("png")]],
  scene: [["resetCameraDefault3d", saving("png")]] };
const CONFIG = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" };
const CLEAR = "rgba(0,0,0,0)";

const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
/* plotly reads some HTML in texts */
const escaped = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function axis(title, options) {
  const line = colour("line");
  return { title: { text: title, standoff: 8, font: { size: 12 } }, automargin: true, gridcolor: line,
    zerolinecolor: line, linecolor: line, tickcolor: line, ...options };
}

/* One box per method, one point per case. */
function boxes({ title, boxes }) {
  const symbols = { paper: "circle", "full supervision": "square" };
  const colourOf = box =>
    box.main ? colour("accent") : colour(box.role === "full supervision" ? "text" : "quiet");
  const traces = boxes.map(box => ({
    type: "box", x: box.values, y: box.values.map(() => box.label), name: box.label, text: box.cases.map(escaped),
    orientation: "h", boxpoints: "all", boxmean: true, jitter: .5, pointpos: 0, hoveron: "points", fillcolor: CLEAR,
    hovertemplate: `%{text}: %{x:.1f} ${title.split(", ")[1]}<extra></extra>`,
    line: { color: colourOf(box), width: 1.5 },
    marker: { color: colourOf(box), size: 5, opacity: .55,
      symbol: symbols[box.role] ?? "diamond" } }));
  return { traces, layout: {
    xaxis: axis(title, { rangemode: "tozero", zeroline: false }),
    yaxis: axis("", { autorange: "reversed", showgrid: false, ticks: "" }),
    showlegend: false, boxgap: .35, margin: { l: 10, r: 16, t: 10, b: 44 } } };
}

/* The cases of one method against full supervision. */
function scatter(data, method) {
  const { cases, pairs } = data[method];
  const ends = { range: [-2, 102], zeroline: false, dtick: 20, constrain: "domain" };
  const traces = [
    { x: [0, 100], y: [0, 100], mode: "lines", hoverinfo: "skip", line: { color: colour("quiet"), width: 1, dash: "dot" } },
    { x: pairs.map(pair => pair[0]), y: pairs.map(pair => pair[1]), text: cases.map(escaped), mode: "markers",
      marker: { color: colour("accent"), size: 9, opacity: .75 },
      hovertemplate: "%{text}: %{y:.1f} %, full supervision %{x:.1f} %<extra></extra>" }];
  return { traces, layout: {
    xaxis: axis("Dice with full supervision, %", ends),
    yaxis: axis("Dice with the method, %", { scaleanchor: "x", ...ends }),
    showlegend: false, margin: { l: 10, r: 10, t: 10, b: 48 } } };
}

/* A panel for each kind of value that was logged, the phases shaded. */
const PANEL = 125, GAP = 46, TOP = 66, BOTTOM = 44, EPOCHS_WITH_MARKERS = 60;
const curvesHeight = panels => TOP + BOTTOM + panels.length * (PANEL + GAP) - GAP;

function curves(data, training) {
  const { epochs, phases, panels } = data[training];
  const styles = [["accent", "solid"], ["second", "dash"], ["text", "dot"], ["quiet", "dashdot"]];
  const height = curvesHeight(panels) - TOP - BOTTOM;
  const suffix = row => row ? String(row + 1) : "";
  const layout = {
    xaxis: axis("epoch", { range: [-.5, epochs - .5], anchor: "y" + suffix(panels.length - 1), zeroline: false }),
    margin: { l: 10, r: 10, t: TOP, b: BOTTOM }, hovermode: "x unified", hoversubplots: "axis" };
  const traces = panels.flatMap(({ title, lines }, row) => {
    const top = 1 - row * (PANEL + GAP) / height;
    const options = { domain: [Math.max(top - PANEL / height, 0), top], nticks: 5 };
    if (title === "share propagated") options.rangemode = "nonnegative";
    if (title === "learning rate") Object.assign(options, { type: "log", dtick: 1, tickformat: ".0e" });
    layout["yaxis" + suffix(row)] = axis(title, options);
    layout["legend" + suffix(row)] =
      { y: top, x: 1, xanchor: "right", yanchor: "bottom", orientation: "h", font: { size: 11 } };
    return lines.map(({ name, values }, place) => {
      const [name_of_colour, dash] = styles[place % styles.length];
      return { y: values, name, mode: epochs <= EPOCHS_WITH_MARKERS ? "lines+markers" : "lines",
        line: { color: colour(name_of_colour), width: 1.5, dash }, marker: { size: 4 }, yaxis: "y" + suffix(row),
        legend: "legend" + suffix(row), hovertemplate: "%{y:.4g}",
        showlegend: lines.length > 1 };  // alone it is what the axis says
    });
  });
  const place = { xref: "x", yref: "paper" };
  layout.shapes = phases.filter((_, i) => i % 2).map(([, start, end]) => ({ type: "rect", ...place,
    x0: start - .5, x1: end - .5, y0: 0, y1: 1, fillcolor: colour("line"), opacity: .45, line: { width: 0 },
    layer: "below" }));
  layout.annotations = phases.map(([name, start, end]) => ({ ...place, text: escaped(name), x: (start + end - 1) / 2,
    y: 1, yanchor: "bottom", yshift: 26, font: { size: 11 }, showarrow: false }));
  return { traces, layout };
}

/* The surface of a prediction, coloured by its distance to the reference, and the reference around it. */
function surfaces({ cases, colours }, number, method) {
  const shown = cases[number];
  const mesh = { type: "mesh3d", flatshading: false, hoverinfo: "skip",
    lighting: { ambient: .65, diffuse: .6, specular: .08, roughness: .8 } };
  const traces = [];
  const prediction = shown.predictions[method];
  if (prediction?.intensity)
    traces.push({ ...mesh, ...prediction, cmin: -shown.range, cmax: shown.range, hoverinfo: "all",
      colorscale: colours.distance.map((value, place, all) => [place / (all.length - 1), value]),
      colorbar: { title: { text: "mm" }, thickness: 12, len: .7, outlinewidth: 0 },
      hovertemplate: "%{intensity:.1f} mm<extra></extra>" });
  else if (prediction)  // without a reference all of it is too much
    traces.push({ ...mesh, ...prediction, color: colours.distance.at(-1) });
  if (shown.reference)  // solid if alone; around a prediction it must let that through
    traces.push({ ...mesh, ...shown.reference, color: colours.reference, opacity: traces.length ? .2 : .8,
      meta: "overlay" });
  const titles = { x: "x, mm (to the left)", y: "y, mm (to the back)", z: "z, mm (to the head)" };
  const sides = shown.high.map((high, i) => high - shown.low[i]);
  const margin = .03 * Math.max(...sides);
  // from the patient's front, a little from above; kept while methods are compared
  const scene = { aspectmode: "manual", aspectratio: {}, bgcolor: CLEAR, uirevision: shown.identifier,
    camera: { eye: { x: .78, y: -1.68, z: .6 }, center: { x: 0, y: 0, z: -.05 } } };
  Object.entries(titles).forEach(([name, text], i) => {
    scene.aspectratio[name] = (sides[i] + 2 * margin) / (Math.max(...sides) + 2 * margin);
    scene[name + "axis"] = { title: { text, font: { size: 11 } }, range: [shown.low[i] - margin, shown.high[i] + margin],
      gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, showbackground: false, showspikes: false,
      nticks: 5, tickfont: { size: 10, color: colour("quiet") } };
  });
  return { traces, layout: { scene, margin: { l: 0, r: 0, t: 0, b: 0 } } };
}

/* How each kind is drawn, its height on the screen, and its size on a page of A4 landscape. */
const KINDS = {
  boxes: { draw: boxes, height: data => 90 + 46 * data.boxes.length, printed: { width: 490 } },
  scatter: { draw: scatter, height: () => 460, printed: { width: 480 } },
  curves: { draw: curves, height: data => Math.max(...data.map(training => curvesHeight(training.panels))),
    printed: { width: 1000, height: 640 } },
  surfaces: { draw: surfaces, height: () => 560, printed: { width: 1000 } } };

class Figure {
  constructor(element) {
    this.kind = KINDS[element.dataset.kind];
    this.name = element.id;
    this.plot = element.querySelector(".plot");
    this.notes = Array.from(element.querySelectorAll("[data-choice]"));
    this.lists = Array.from(element.querySelectorAll("select"));
    this.overlay = element.querySelector("input");
    this.data = JSON.parse(element.querySelector("script").textContent);
    this.resize();
    this.drawn = false;
    element.querySelector("form")?.addEventListener("input", () => this.draw());
    element.querySelector("form")?.addEventListener("submit", event => event.preventDefault());
  }
  resize(height = this.kind.height(this.data)) { this.plot.style.height = height + "px"; }
  print() {
    if (this.kind.printed.height) this.resize(this.kind.printed.height);
    this.draw(this.kind.printed);
  }
  /* Save what is seen, on white and in the colours of the light page whatever this one's are. */
  async save(format) {
    const root = document.documentElement;
    const shown = this.lists.map(list => list.selectedOptions[0].textContent);
    const filename = [document.title, this.name, ...shown].join(" ").replace(/[^\p{L}\p{N}]+/gu, "_");
    const camera = this.plot.layout.scene?.camera;
    const { width, height } = this.plot.getBoundingClientRect();
    root.classList.add("light");
    try {
      const { traces, layout, config } = this.figure({ width, height });
      if (camera) layout.scene.camera = camera;
      layout.paper_bgcolor = layout.plot_bgcolor = "#ffffff";
      await Plotly.downloadImage({ data: traces, layout, config }, { format, filename, width, height, scale: 2 });
    } finally { root.classList.remove("light"); }
  }
  /* Draw in the size of the element, or in another one. */
  draw(size = { autosize: true }) {
    const chosen = this.lists.map(list => list.value);
    for (const note of this.notes) note.hidden = note.dataset.choice !== chosen.join("-");
    const { traces, layout, config } = this.figure(size);
    this.drawn = true;
    return Plotly.react(this.plot, traces, layout, config);
  }
  figure(size) {
    const chosen = this.lists.map(list => list.value);
    const { traces, layout } = this.kind.draw(this.data, ...chosen);
    if (this.overlay)
      for (const trace of traces) if (trace.meta === "overlay") trace.visible = this.overlay.checked;
    const text = colour("text");
    Object.assign(layout, size, {
      font: { family: "system-ui, sans-serif", size: 12, color: text }, paper_bgcolor: CLEAR, plot_bgcolor: CLEAR,
      hoverlabel: { bgcolor: colour("page"), bordercolor: colour("line"), font: { color: text } },
      modebar: { bgcolor: CLEAR, color: colour("quiet"), activecolor: colour("accent") } });
    const modeBarButtons = layout.scene ? BUTTONS.scene : BUTTONS.flat;
    return { traces, layout, config: { ...CONFIG, modeBarButtons } };
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
  for (const figure of figures.values()) figure.print();
});
addEventListener("afterprint", () => {
  for (const figure of figures.values()) { figure.resize(); figure.draw(); }
});

/* The table of results as a file. */
for (const panel of document.querySelectorAll(".downloads")) {
  panel.hidden = false;
  panel.addEventListener("click", ({ target }) => {
    if (!target.dataset.ending) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([target.dataset.text]));
    link.download = `${panel.dataset.name}.${target.dataset.ending}`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
