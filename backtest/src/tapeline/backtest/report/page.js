"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
const isNarrow = window.matchMedia("(max-width: 640px)");
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
function painted(value) {
  if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
  if (Array.isArray(value)) return value;
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner)]));
  }
  return value;
}
function layoutOf(chart) {
  const axis = { gridcolor: colour("--edge"), zerolinecolor: colour("--edge"), linecolor: colour("--edge"), automargin: true };
  const layout = {
    height: chart.height, autosize: true, showlegend: true,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: isNarrow.matches ? 44 : 64, r: 12, t: 8, b: 36 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--ink") },
    dragmode: isNarrow.matches ? false : "zoom",
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--edge"), font: { color: colour("--ink") } },
  };
  for (const [key, value] of Object.entries(painted(chart.layout))) {
    layout[key] = /^[xy]axis/.test(key) ? Object.assign({}, axis, value) : value;
    if (isNarrow.matches && /^yaxis/.test(key)) delete layout[key].title;
  }
  return layout;
}
function draw() {
  for (const chart of charts) {
    Plotly.react(chart.id, chart.data.map(painted), layoutOf(chart), { responsive: true, displaylogo: false });
  }
}
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
  draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
isNarrow.addEventListener("change", draw);
draw();
