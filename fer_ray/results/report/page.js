"use strict";
// Charts: Plotly draws what Python has described, in the colours of the page.
const scheme = matchMedia("(prefers-color-scheme: dark)");
const template = (dark) => {
  const [ink, line] = dark ? ["#e6e8eb", "#3b4149"] : ["#1c1e21", "#dfe3e8"];
  // Lines without a colour of their own have that of the text.
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line };
  return { layout: { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    colorway: [ink], font: { color: ink, size: 13, family: "system-ui, sans-serif" },
    xaxis: axis, yaxis: axis,
    hoverlabel: { bgcolor: dark ? "#1e2126" : "#ffffff", bordercolor: line,
      font: { color: ink } } } };
};
const still = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: "reset" };
const charts = [...document.querySelectorAll("[data-chart]")];
function draw(dark) {
  for (const place of charts) {
    const figure = JSON.parse(document.getElementById(place.dataset.chart).textContent);
    figure.layout.template = template(dark);
    figure.layout.height = place.clientHeight;
    try {
      Plotly.react(place, figure.data, figure.layout, still);
    } catch (error) { // the rest of the page is to work all the same
      console.error(error);
      place.textContent = "This browser cannot draw the chart; its data are below.";
    }
    for (const part of place.querySelectorAll("svg, canvas")) part.ariaHidden = "true";
  }
}
let isPrinting = false; // paper is light, whatever the screen is
const redraw = () => draw(scheme.matches && !isPrinting);
redraw();
scheme.addEventListener("change", redraw);
addEventListener("beforeprint", () => { isPrinting = true; redraw(); });
addEventListener("afterprint", () => { isPrinting = false; redraw(); });

// The table of trials: a click on a column sorts it, two fields choose what is shown.
const table = document.getElementById("trials-table");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const said = document.getElementById("trials-said");
  const key = (row, column) => row.cells[column].dataset.sort;
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "") || 0;
    return a !== "" && !isNaN(a) && !isNaN(b) ? a - b : String(a).localeCompare(b);
  };
  for (const head of table.tHead.rows[0].cells) {
    head.querySelector("button")?.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((x, y) => {
        const [a, b] = [key(x, head.cellIndex), key(y, head.cellIndex)];
        return a === "" || b === "" || !down ? compare(a, b) : compare(b, a);
      });
      body.append(...rows);
    });
  }
  const words = document.getElementById("trials-filter");
  const state = document.getElementById("trials-state");
  const choose = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = (!state.value || row.dataset.state === state.value) &&
        wanted.every((word) => row.dataset.text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    said.textContent = `${shown} of ${rows.length} shown`;
  };
  words.addEventListener("input", choose);
  state.addEventListener("change", choose);
  choose();
}

// Commands to copy.
const copied = document.getElementById("copied");
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await copy(button.dataset.copy);
    copied.textContent = "copied";
    const before = button.textContent;
    button.textContent = "copied";
    setTimeout(() => { button.textContent = before; copied.textContent = ""; }, 1500);
  });
}
