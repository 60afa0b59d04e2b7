"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = JSON.parse(one("#report-data").textContent);

  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  const collator = new Intl.Collator("en", { numeric: true });

  // Names break after their underscores, slashes and dots, if they have to.
  function breakable(text) {
    const made = element("bdi");
    for (const part of text.split(/(?<=[_/.])(?=.)/)) made.append(part, element("wbr"));
    made.lastChild?.remove();
    return made;
  }
  for (const name of all("bdi")) if (/[_/.]/.test(name.textContent)) name.replaceWith(breakable(name.textContent));

  // Theme: the system's until the button is used.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  function nameTheme() {
    one("#theme").textContent = isDark() ? "Light theme" : "Dark theme";
  }
  one("#theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  system.addEventListener("change", nameTheme);
  nameTheme();

  // Tables that are wider than their place are scrolled by keyboard, too.
  const places = new ResizeObserver((changed) => {
    for (const { target } of changed) {
      const wide = target.scrollWidth > target.clientWidth;
      const named = { tabindex: "0", role: "region", "aria-label": one("caption", target)?.textContent ?? "Table" };
      for (const [name, value] of Object.entries(named)) {
        if (wide) target.setAttribute(name, value);
        else target.removeAttribute(name);
      }
    }
  });
  for (const place of all(".scroll:not([tabindex])")) places.observe(place);

  // Tables whose rows stand on the page: sorted by the values of a column, of which missing ones come last, either way.
  function startOrdered(table) {
    const titles = all("thead th", table);
    const body = one("tbody", table);
    const value = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();

    function order(at, down) {
      const compared = (a, b) => {
        const [x, y] = [value(a, at), value(b, at)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const way = collator.compare(x, y) && (Number(x) - Number(y) || collator.compare(x, y));
        return down ? -way : way;
      };
      body.append(...all("tr", body).sort(compared));
      titles.forEach((title, k) => title.setAttribute("aria-sort", k !== at ? "none" : down ? "descending" : "ascending"));
    }
    titles.forEach((title, at) =>
      one("button", title)?.addEventListener("click", () => order(at, title.getAttribute("aria-sort") === "ascending")),
    );
  }

  // Classes: one table, sorted and filtered as a list.
  const place = Object.fromEntries((data.slices?.columns ?? []).map((name, index) => [name, index]));
  const order = { key: "name", down: false };

  function sortValue(row, key) {
    const value = row[place[key]];
    if (Array.isArray(value)) return value[1] ? value[0] / value[1] : null;
    return key === "head" ? data.heads[value].name : value;
  }

  function compare(a, b) {
    const [x, y] = [sortValue(a, order.key), sortValue(b, order.key)];
    if (x === null || y === null) return (x === null) - (y === null); // undefined comes last, either way
    const way = typeof x === "string" ? collator.compare(x, y) : x - y;
    return (order.down ? -way : way) || collator.compare(a[place.name], b[place.name]) || a[place.head] - b[place.head];
  }

  function valueCell([part, whole, low, high]) {
    const cell = element("td");
    if (!whole) {
      cell.append(element("small", "undefined, of 0"));
      return cell;
    }
    const box = element("div", undefined, "value");
    const meter = element("span", undefined, "meter");
    const interval = element("i");
    const point = element("b");
    interval.style.left = `${100 * low}%`;
    interval.style.right = `${100 * (1 - high)}%`;
    point.style.left = `calc(${(100 * part) / whole}% - 1px)`;
    meter.append(interval, point);
    meter.title = `${low.toFixed(2)} to ${high.toFixed(2)}`;
    box.append(element("b", (part / whole).toFixed(3)), meter, element("small", `${part} of ${whole}`));
    cell.append(box);
    return cell;
  }

  function sliceRow(row) {
    const made = element("tr");
    const name = element("th");
    name.scope = "row";
    name.append(breakable(row[place.name]));
    made.append(name, element("td", data.heads[row[place.head]].name, "of-head"), element("td", row[place.images]));
    for (const key of ["accuracy", "pt", "ir"]) made.append(valueCell(row[place[key]]));
    for (const key of ["undefined", "errors"]) made.append(element("td", row[place[key]]));
    return made;
  }

  function showSlices() {
    const kind = one("#slice-kind").value;
    const head = one("#slice-head").value;
    const part = one("#slice-name").value.toLowerCase();
    const rows = data.slices.rows.filter(
      (row) =>
        row[place.slice] === kind &&
        (head === "" || row[place.head] === Number(head)) &&
        row[place.name].toLowerCase().includes(part),
    );
    one("#slice-table tbody").replaceChildren(...rows.sort(compare).map(sliceRow));
    one("#slice-count").textContent = `${rows.length} row${rows.length === 1 ? "" : "s"}`;
    for (const title of all("#slice-table thead th")) {
      const sorted = title.dataset.key === order.key;
      title.setAttribute("aria-sort", sorted ? (order.down ? "descending" : "ascending") : "none");
    }
  }

  function startSlices() {
    for (const title of all("#slice-table thead th")) {
      one("button", title).addEventListener("click", () => {
        order.down = title.dataset.key === order.key && !order.down;
        order.key = title.dataset.key;
        showSlices();
      });
    }
    one("#slice-controls").addEventListener("input", showSlices);
    one("#slice-controls").addEventListener("submit", (event) => event.preventDefault());
    const grouped = data.slices.rows.some((row) => row[place.slice] === "group");
    one("#slice-kind").parentElement.hidden = !grouped;
    showSlices();
  }

  // Of a group of samples the first rows are shown, until more are asked for.
  const units = (within) => all(".pair, .card", within).filter((unit) => !unit.parentElement.closest(".pair"));

  function showFirst(group, wanted) {
    const first = group.closest("#changed") ? 8 : 16;
    const visible = new Set(group.dataset.all ? wanted : wanted.slice(0, first));
    for (const unit of units(group)) unit.hidden = !visible.has(unit);
    group.hidden = wanted.length === 0;
    const more = one(".more", group);
    more.hidden = visible.size === wanted.length;
    more.textContent = `Show all ${wanted.length}`;
  }

  function showAll(group, show) {
    const next = units(group).find((unit) => unit.hidden);
    group.dataset.all = "yes";
    show();
    if (next && !next.hidden) one("button", next).focus();
  }

  // Pairs of heads: one at a time.
  one("#changed-pair")?.addEventListener("input", showPair);
  function showPair() {
    all("#changed .moved").forEach((moved, k) => (moved.hidden = k !== Number(one("#changed-pair").value)));
  }
  if (one("#changed-pair")) showPair();

  // Samples that changed: all of them match.
  for (const group of all("#changed .group")) {
    const show = () => showFirst(group, units(group));
    one(".more", group).addEventListener("click", () => showAll(group, show));
    show();
  }

  // Samples: filters, and the opacity of the maps.
  function startSamples(section) {
    const groups = all(".group", section);

    function show() {
      const [quadrant, head, label] = ["quadrant", "head", "class"].map((name) => one(`#sample-${name}`).value);
      let matching = 0;
      for (const group of groups) {
        const cards = units(group).filter(
          (card) => (head === "" || card.dataset.head === head) && (label === "" || card.dataset.class === label),
        );
        const wanted = quadrant === "" || group.dataset.quadrant === quadrant ? cards : [];
        showFirst(group, wanted);
        matching += wanted.length;
      }
      one("#sample-count").textContent = `${matching} sample${matching === 1 ? "" : "s"}`;
      one("#no-samples").hidden = matching !== 0;
    }

    one("#sample-controls").addEventListener("input", (event) => {
      if (event.target.id === "heat") root.style.setProperty("--heat", event.target.value / 100);
      else if (event.target.id === "outline") root.classList.toggle("bare", !event.target.checked);
      else show();
    });
    one("#sample-controls").addEventListener("submit", (event) => event.preventDefault());
    for (const group of groups) one(".more", group).addEventListener("click", () => showAll(group, show));
    for (const link of all("a[data-quadrant]")) {
      link.addEventListener("click", () => {
        one("#sample-quadrant").value = link.dataset.quadrant;
        one("#sample-head").value = link.dataset.head;
        one("#sample-class").value = "";
        show();
      });
    }
    show();
  }

  // One sample enlarged, under both heads if it changed.
  function startViewer(viewer) {
    let shot = null;

    function enlarge(unit, from) {
      shot = from;
      const cards = unit.matches(".pair") ? all(".card", unit) : [unit];
      one("#viewer-title").textContent = cards.map((card) => one(".says", card).textContent).join(" | ");
      const columns = cards.map((card) => {
        const picture = one(".shot svg", card).cloneNode(true);
        for (const named of all("[id]", picture)) named.removeAttribute("id");
        const column = element("div", undefined, "enlarged");
        const drawn = element("div");
        drawn.append(picture, one(".scale").cloneNode(true), ...all(".swaps", card).map((sheet) => sheet.cloneNode(true)));
        column.append(drawn, one(".facts", card).cloneNode(true));
        return column;
      });
      one("#viewer-body").replaceChildren(...columns);
      if (!viewer.open) viewer.showModal();
    }

    const unitOf = (button) => button.closest(".pair") ?? button.closest(".card");

    function step(by) {
      const shown = units(shot.closest("#changed, #samples")).filter((unit) => unit.checkVisibility());
      const next = shown[(shown.indexOf(unitOf(shot)) + by + shown.length) % shown.length];
      enlarge(next, one(".shot", next));
    }

    document.addEventListener("click", (event) => {
      const clicked = event.target.closest(".shot");
      if (clicked) enlarge(unitOf(clicked), clicked);
    });
    one("#previous").addEventListener("click", () => step(-1));
    one("#next").addEventListener("click", () => step(1));
    viewer.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    viewer.addEventListener("click", (event) => {
      if (event.target === viewer) viewer.close();
    });
    viewer.addEventListener("close", () => shot.focus());
  }
  for (const table of all("table.ordered")) startOrdered(table);
  if (one("#slices")) startSlices();
  if (one("#samples")) startSamples(one("#samples"));
  if (one("#viewer")) startViewer(one("#viewer"));
  root.dataset.ready = "yes";
})();
