"use strict";
// Draws the plots of the page. The numbers are in the element #data.
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#2166ac", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#a6761d", "#66a61e", "#17a2b8"];
const LEAST = 0.01; // seconds; no logarithm of nothing
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const plots = [];

function axis(label, more) {
  const line = dark ? "#2b333d" : "#e3e7ec";
  return { label, stroke: dark ? "#94a1b0" : "#5c6875", grid: { stroke: line, width: 1 }, ticks: { stroke: line }, ...more };
}

function colour(n) {
  return COLOURS[n % COLOURS.length];
}

function number(digits, unit) {
  return (plot, value) => value === null || value === undefined ? "–" : `${value.toFixed(digits)} ${unit}`;
}

function percent(value) {
  return `${+(100 * (1 - 10 ** -value)).toFixed(2)} %`;
}

function draw(id, options, columns) {
  const place = document.getElementById(id);
  const size = () => ({ width: place.clientWidth, height: 320 });
  plots.push([new uPlot({ ...size(), ...options }, columns, place), size]);
}

const minutes = data.at.map((at) => at / 60);
const ofTime = { x: { time: false } };
draw("memory", {
  scales: { ...ofTime, y: { range: (plot, low, high) => [0, high * 1.05 || 1] } },
  axes: [axis("minutes"), axis("GB", { size: 60 })],
  series: [
    { label: "minute", value: number(1, "") },
    { label: "agents", stroke: "#8894a3", fill: dark ? "#ffffff12" : "#00000010", width: 1, value: number(1, "GB") },
    { label: "agents, less the neighbour", stroke: "#8894a3", dash: [5, 4], width: 1, show: data.foreign.some((mb) => mb > 0), value: number(1, "GB") },
    ...data.settings.map((each, n) => ({ label: each.name, stroke: colour(n), width: 1.5, value: number(1, "GB") })),
  ],
}, [
  minutes,
  data.total.map((mb) => mb / 1024),
  data.total.map((mb, n) => (mb - data.foreign[n]) / 1024),
  ...data.settings.map((each) => each.held.map((mb) => mb / 1024)),
]);
draw("waiting", {
  scales: { ...ofTime, y: { range: (plot, low, high) => [0, high * 1.05 || 1] } },
  axes: [axis("minutes"), axis("activations", { size: 60 })],
  series: [
    { label: "minute", value: number(1, "") },
    ...data.settings.map((each, n) => ({ label: each.name, stroke: colour(n), width: 1.5, value: number(0, "") })),
  ],
}, [minutes, ...data.settings.map((each) => each.waiting)]);
draw("waits", {
  scales: { ...ofTime, y: { distr: 3 } },
  axes: [
    axis("share of the activations that waited at most so long", { splits: [0, 1, 2, 3], values: (plot, splits) => splits.map(percent) }),
    axis("seconds", { size: 60, values: (plot, splits) => splits.map((value) => value === null ? null : +value.toPrecision(2)) }),
  ],
  series: [
    { label: "share", value: (plot, value) => value === null || value === undefined ? "–" : percent(value) },
    ...data.settings.map((each, n) => ({ label: each.name, stroke: colour(n), width: 1.5, value: number(2, "s") })),
  ],
}, [
  data.shares.map((share) => -Math.log10(1 - share)),
  ...data.settings.map((each) => each.waits.map((wait) => Math.max(wait, LEAST))),
]);
addEventListener("resize", () => plots.forEach(([plot, size]) => plot.setSize(size())));
document.body.dataset.drawn = plots.length;
