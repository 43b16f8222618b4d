"use strict";
(() => {
  const LEAST = 3, HEADER = 17, GAP = 2, LETTER = 6.3, LIMIT = 2000;
  const NS = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("rows").textContent);
  // parent, name, path, bytes, text of the bytes, kind, label, colour
  const rows = data.map((r) => ({
    parent: r[0], name: r[1], path: r[2], bytes: r[3], size: r[4], kind: r[5], label: r[6],
    colour: r[7], below: [], own: r[3],
  }));
  rows.forEach((row, i) => {
    row.number = i;
    if (row.parent !== null && row.bytes > 0) {
      rows[row.parent].below.push(row);
      rows[row.parent].own -= row.bytes;
    }
  });
  rows.forEach((row) => row.below.sort((a, b) => b.bytes - a.bytes));
  document.documentElement.classList.add("js");

  const live = document.getElementById("live");
  const way = document.getElementById("way");
  const detail = document.getElementById("detail");
  let top = rows[0], width = 0, current = null;

  // Squarified tree maps: Bruls, Huizing, van Wijk, 2000.
  function squarify(areas, box) {
    let { x, y, w, h } = box;
    const total = areas.reduce((a, b) => a + b, 0), out = [];
    if (!(total > 0 && w > 0 && h > 0)) return out;
    const scale = (w * h) / total;
    let first = 0;
    while (first < areas.length) {
      const side = Math.min(w, h);
      let last = first, row = 0, worst = Infinity;
      while (last < areas.length) {
        const area = areas[last] * scale, sum = row + area;
        const ratio = Math.max((side * side * areas[first] * scale) / (sum * sum),
          (sum * sum) / (side * side * area));
        if (ratio > worst || Number.isNaN(ratio)) break;
        worst = ratio; row = sum; last++;
      }
      if (last === first) last++;
      const thick = side > 0 ? row / side : 0;
      let along = w >= h ? y : x;
      for (let i = first; i < last; i++) {
        const length = thick > 0 ? (areas[i] * scale) / thick : 0;
        out.push(w >= h ? { x, y: along, w: thick, h: length } : { x: along, y, w: length, h: thick });
        along += length;
      }
      if (w >= h) { x += thick; w = Math.max(0, w - thick); } else { y += thick; h = Math.max(0, h - thick); }
      first = last;
    }
    return out;
  }

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(NS, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function share(row) {
    return rows[0].bytes ? (100 * row.bytes / rows[0].bytes).toFixed(1) + "%" : "";
  }

  function described(row) {
    const path = row.path || (row.kind === "part" ? "" : "(the object)");
    const label = row.label === path ? "" : row.label;
    return [path, label, `${row.size} (${row.bytes.toLocaleString("en")} bytes)`, share(row)]
      .filter(Boolean).join(", ");
  }

  function fit(text, n) {
    return text.length <= n ? text : n < 2 ? "" : text.slice(0, n - 1) + "\u2026";
  }

  function draw() {
    const w = width, h = Math.round(Math.max(340, Math.min(620, w * 0.58)));
    live.replaceChildren();
    const svg = element("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "group",
      "aria-label": "Bytes by object path: arrow keys move, Enter goes in, Escape goes out",
      "font-size": 11, "font-family": "system-ui, sans-serif" }, live);
    let left = LIMIT;
    const waiting = [[top, { x: 0, y: 0, w, h }, 0]];
    while (waiting.length && left > 0) {
      const [row, box, depth] = waiting.pop();
      left--;
      const leaf = row.below.length === 0;
      const group = element("g", {}, svg);
      group.row = row;
      if (depth === 1) {
        group.setAttribute("tabindex", -1);
        group.setAttribute("role", leaf ? "img" : "button");
        group.setAttribute("aria-label", described(row));
      }
      element("title", {}, group, described(row));
      element("rect", { class: "c-" + (leaf ? row.colour : "frame"), x: box.x + 0.5, y: box.y + 0.5,
        width: Math.max(0.5, box.w - 1), height: Math.max(0.5, box.h - 1), rx: 2,
        "stroke-width": 0.6 }, group);
      const n = Math.floor((box.w - 8) / LETTER);
      if (n >= 4 && box.h >= (leaf ? 16 : 40)) {
        let name = fit(row.name, n);
        if (!leaf && row.kind !== "part" && name.length + row.label.length + 2 <= n) name += ": " + row.label;
        element("text", { x: box.x + 5, y: box.y + 13 }, group, name);
        if (leaf && box.h >= 32 && n >= 7) {
          element("text", { x: box.x + 5, y: box.y + 26, class: "dim" }, group, row.size);
        }
      }
      if (leaf) continue;
      const head = box.w >= 40 && box.h >= 40 ? HEADER : GAP;
      const room = { x: box.x + GAP, y: box.y + head, w: box.w - 2 * GAP, h: box.h - head - GAP };
      const parts = row.below.slice();
      if (row.own > 0) parts.push({ bytes: row.own, itself: true });
      parts.sort((a, b) => b.bytes - a.bytes);
      const boxes = squarify(parts.map((part) => part.bytes), room);
      for (let i = boxes.length - 1; i >= 0; i--) {
        if (!parts[i].itself && boxes[i].w >= LEAST && boxes[i].h >= LEAST) {
          waiting.push([parts[i], boxes[i], depth + 1]);
        }
      }
    }
    const first = svg.querySelector("g[tabindex]");
    if (first) first.setAttribute("tabindex", 0);
    breadcrumbs();
  }

  function breadcrumbs() {
    way.replaceChildren();
    const chain = [];
    for (let row = top; row; row = row.parent === null ? null : rows[row.parent]) chain.unshift(row);
    chain.forEach((row, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = fit(row.name, 40);
      if (i === chain.length - 1) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => enter(row, false));
      way.appendChild(button);
    });
  }

  function enter(row, focus) {
    const from = top;
    top = row;
    draw();
    detail.textContent = described(row);
    if (focus) {
      const all = items();
      // Going out, one stands where one came from.
      let inner = from;
      while (inner && inner.parent !== row.number) inner = inner.parent === null ? null : rows[inner.parent];
      move(all.find((group) => group.row === inner) || all[0]);
    }
  }

  function items() { return [...live.querySelectorAll("g[tabindex]")]; }

  function move(group) {
    if (!group) return;
    for (const each of items()) each.setAttribute("tabindex", each === group ? 0 : -1);
    group.focus();
  }

  live.addEventListener("click", (event) => {
    const group = event.target.closest("g");
    if (!group) return;
    let row = group.row;
    while (row !== top && rows[row.parent] !== top) row = rows[row.parent];
    if (row !== top && row.below.length) enter(row, false);
    else detail.textContent = described(group.row);
  });
  live.addEventListener("mouseover", (event) => {
    const group = event.target.closest("g");
    if (group && group.row !== current) {
      current = group.row;
      detail.textContent = described(group.row);
    }
  });
  live.addEventListener("focusin", (event) => {
    const group = event.target.closest("g");
    if (group) detail.textContent = described(group.row);
  });
  live.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const all = items(), at = all.indexOf(document.activeElement.closest("g"));
    if (at < 0) return;
    const row = all[at].row;
    switch (event.key) {
      case "ArrowRight": case "ArrowDown": move(all[Math.min(at + 1, all.length - 1)]); break;
      case "ArrowLeft": case "ArrowUp": move(all[Math.max(at - 1, 0)]); break;
      case "Home": move(all[0]); break;
      case "End": move(all[all.length - 1]); break;
      case "Enter": case " ": if (row.below.length) enter(row, true); break;
      case "Escape": case "Backspace": if (top.parent !== null) enter(rows[top.parent], true); break;
      default: return;
    }
    event.preventDefault();
  });

  function fitWidth() {
    const now = Math.floor(live.clientWidth);
    if (now > 0 && now !== width) {
      const kept = live.contains(document.activeElement) ? document.activeElement.row : null;
      width = now;
      draw();
      if (kept) move(items().find((group) => group.row === kept));
    }
  }
  document.querySelectorAll(".tool").forEach((each) => { each.hidden = false; });
  detail.textContent = described(top);
  new ResizeObserver(fitWidth).observe(live);
  fitWidth();

  // Tables: sorted by a click on a heading, filtered by text.
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0], all = [...body.rows];
    table.querySelectorAll("thead th").forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const numeric = heading.classList.contains("n");
        const was = heading.getAttribute("aria-sort");
        const down = was ? was === "ascending" : numeric;
        table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => {
          const cell = row.cells[column];
          return numeric ? Number(cell.dataset.v || 0) : cell.textContent;
        };
        const sign = down ? -1 : 1;
        const order = new Intl.Collator("en", { numeric: true }).compare;
        all.sort((a, b) => sign * (numeric ? key(a) - key(b) : order(key(a), key(b))));
        body.append(...all);
      });
    });
    const input = document.getElementById(table.dataset.filter || "");
    if (!input) return;
    const said = document.getElementById(input.getAttribute("aria-describedby"));
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let n = 0;
      for (const row of all) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        n += !row.hidden;
      }
      said.textContent = words.length ? `${n} of ${all.length}` : "";
    });
  });
})();
