// Sorting, switching, hovering and filtering. Without this script the page shows the same, but does not move.
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// A click on a head sorts its table; what has no value stays below.
for (const table of all("table.sortable")) {
  for (const button of all("th button", table)) {
    button.addEventListener("click", () => {
      const head = button.parentElement, column = head.cellIndex, body = table.tBodies[0];
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const x = value(a), y = value(b), none = (text) => text === "" || text === "–";
        if (none(x) || none(y)) return none(x) - none(y);
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return up ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  }
}

// A row lights up the curves of its configuration.
for (const row of all("tr[data-label]")) {
  const light = (on) => {
    for (const series of all(".series", row.closest("section") ?? document)) {
      const own = series.dataset.label === row.dataset.label;
      series.classList.toggle("on", on && own);
      if (own) series.ownerSVGElement.classList.toggle("lit", on);
    }
  };
  row.addEventListener("mouseenter", () => light(true));
  row.addEventListener("mouseleave", () => light(false));
  row.addEventListener("focus", () => light(true));
  row.addEventListener("blur", () => light(false));
}

// Optimizers, seeds and logarithmic axes are switched on and off for all figures of an experiment.
for (const section of all("section")) {
  const bar = section.querySelector(".switches");
  const add = (text, checked, change) => {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked });
    box.addEventListener("change", () => change(box.checked));
    label.append(box, ` ${text}`);
    bar.append(label);
  };
  const show = (elements, on) => elements.forEach((element) => element.toggleAttribute("data-off", !on));
  const own = new Set(all("svg .series", section).map((series) => series.dataset.optimizer));
  if (own.size > 1)
    for (const name of own)
      if (name) add(data.optimizers[name] ?? name, true, (on) => show(all(`[data-optimizer="${name}"]`, section), on));
  if (section.querySelector("svg .seeds")) add("seeds", true, (on) => show(all("svg .seeds", section), on));
  if (section.querySelector("svg.linear"))
    add("logarithmic axes", true, (on) => {
      show(all("svg.logarithmic", section), on);
      show(all("svg.linear", section), !on);
    });
  bar.hidden = !bar.querySelector("input");
}

// The value nearest to the pointer, or, with the arrow keys, of the next point.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
// Each mark's element, text, and place in the figure's own units; the parts of a path begin with M.
const read = (element) => {
  const texts = element.dataset.v.split("|"), { cx, cy } = element;
  if (cx) return [{ element, text: texts[0], x: cx.baseVal.value, y: cy.baseVal.value }];
  const starts = [...element.getAttribute("d").matchAll(/M(-?[\d.]+) ?(-?[\d.]+)/g)];
  return texts.map((text, place) => ({ element, text, x: +starts[place][1], y: +starts[place][2] }));
};
for (const figure of all("figure:has([data-v])")) {
  let marks = null, place = -1;
  const points = () => {
    const known = (marks ??= all("[data-v]", figure).flatMap(read));
    return known.filter((point) => !point.element.closest("[data-off]"));
  };
  const locate = ({ element, x, y }) => new DOMPoint(x, y).matrixTransform(element.getScreenCTM());
  const tell = (point) => {
    const at = locate(point), frame = figure.getBoundingClientRect();
    const label = point.element.closest("[data-label]")?.dataset.label;
    tip.textContent = label ? `${label}, ${point.text}` : point.text;
    figure.append(tip);
    const left = at.x - frame.x, top = at.y - frame.y;
    tip.style.left = `${Math.max(0, Math.min(left + 8, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, top - tip.offsetHeight - 10)}px`;
  };
  const point = (event) => {
    let nearest = null, least = 30;
    for (const point of points()) {
      const at = locate(point), away = Math.hypot(at.x - event.clientX, at.y - event.clientY);
      if (away < least) [nearest, least] = [point, away];
    }
    nearest ? tell(nearest) : tip.remove();
  };
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], open = points();
    if (!step || !open.length) return;
    event.preventDefault();
    place = (place + step + open.length) % open.length;
    tell(open[place]);
  };
  for (const svg of all("svg", figure)) {
    svg.tabIndex = 0;
    svg.addEventListener("pointermove", point);
    svg.addEventListener("keydown", walk);
    for (const gone of ["pointerleave", "blur"]) svg.addEventListener(gone, () => tip.remove());
  }
}

// All runs are in the page's data; the table shows the first hundred that have all the words.
{
  const field = document.getElementById("filter");
  if (field && data.runs) {
    const body = document.getElementById("every-run").tBodies[0], found = document.getElementById("found");
    const texts = data.runs.map((run) => run.join(" ").replaceAll("\u00a0", " ").toLowerCase());
    const fill = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const hits = [];
      let count = 0;
      texts.forEach((text, place) => {
        if (!words.every((word) => text.includes(word))) return;
        if (++count <= data.most) hits.push(data.runs[place]);
      });
      body.replaceChildren(...hits.map((run) => {
        const row = document.createElement("tr");
        run.forEach((text, place) => {
          const cell = document.createElement(place ? "td" : "th");
          if (!place) cell.scope = "row";
          if (data.texts[place]) cell.className = "text";
          cell.textContent = text;
          row.append(cell);
        });
        return row;
      }));
      found.textContent = `${count} of ${texts.length}${count > data.most ? `, the first ${data.most} are shown` : ""}`;
    };
    field.disabled = false;
    field.addEventListener("input", fill);
  }
}

// Copying, printing with every fold open, and links into a fold.
for (const button of all("button.copy")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
  });
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  closed.forEach((fold) => (fold.open = true));
});
addEventListener("afterprint", () => closed.forEach((fold) => (fold.open = false)));
const reveal = () => {
  for (let at = document.getElementById(location.hash.slice(1)); at; at = at.parentElement)
    if (at.tagName === "DETAILS") at.open = true;
};
addEventListener("hashchange", reveal);
reveal();
