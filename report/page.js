// Sorts a table by the column whose head was pressed; once more, the other way round. Empty cells
// stay last.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const numeric = head.classList.contains("number");
    const order = (row) => row.cells[column].dataset.order;
    const compare = (a, b) => numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [order(a), order(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return falling ? compare(y, x) : compare(x, y);
    });
    table.tBodies[0].append(...rows);
  }));
}

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));

// Draws the plots. Colours are CSS variables, so that they follow the theme and the printer.
const style = {
  background: "transparent",
  font: getComputedStyle(document.body).fontFamily,
  view: { stroke: null },
  axis: {
    labelColor: "var(--quiet)", titleColor: "var(--quiet)", gridColor: "var(--line)", domainColor: "var(--line)",
    tickColor: "var(--line)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", titlePadding: 8,
  },
  text: { fontSize: 12, color: "var(--ink)" },
};
for (const plot of document.querySelectorAll(".plot")) {
  const spec = JSON.parse(plot.nextElementSibling.textContent);
  await vegaEmbed(plot, spec, { renderer: "svg", actions: false, ast: true, config: style });
  plot.dataset.drawn = "";
}
document.body.dataset.ready = "";
