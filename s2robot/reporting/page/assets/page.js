"use strict";
// Filters, axis and budget of the whole page, and what depends on them.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const element = (tag, text = "", attributes = {}) => {
    const found = document.createElement(tag);
    found.textContent = text;
    Object.entries(attributes).forEach(([name, value]) => found.setAttribute(name, value));
    return found;
  };
  const has = (cost) => data.variants.some((v) => v[cost] != null && !v.baseline);
  const state = {
    cost: has("ms") || !has("gflops") ? "ms" : "gflops",
    budget: { ms: data.deadline_ms, gflops: null },
    off: { family: new Set(), scales: new Set(), level: new Set() },
  };
  const byId = new Map(data.variants.map((v) => [v.id, v]));
  const shown = (v) => ["family", "scales", "level"].every((name) => !v[name] || !state.off[name].has(v[name]));
  const shownId = (id) => !byId.has(id) || shown(byId.get(id));
  const allShown = (ids) => ids.split(" ").every(shownId);
  const groups = $$("section[data-group]").map((section) => ({ section, number: Number(section.dataset.group) }));
  const of = (list, number) => list.filter((each) => each.group === number);

  function filters() {
    for (const [name, legend] of [["family", "Encoder family"], ["scales", "Scales"], ["level", data.tasks]]) {
      const values = [...new Set(data.variants.map((v) => v[name]).filter(Boolean))];
      const box = $(`#filter-${name}`);
      if (values.length < 2) { box.remove(); continue; }
      box.append(element("legend", legend));
      for (const value of values) {
        const label = element("label", "", { class: "chip" });
        const input = element("input", "", { type: "checkbox", value });
        input.checked = true;
        input.addEventListener("change", () => {
          state.off[name][input.checked ? "delete" : "add"](value);
          update();
        });
        label.append(input, ` ${value}`);
        box.append(label);
      }
    }
  }

  function limits() {
    const costs = data.variants.filter((v) => !v.baseline && v[state.cost] > 0).map((v) => v[state.cost]);
    return costs.length ? [Math.min(...costs) / 1.2, Math.max(...costs) * 1.2] : [1, 100];
  }

  function budgetControls() {
    const field = $("#budget"), range = $("#budget-range");
    const set = (value) => {
      state.budget[state.cost] = Number.isFinite(value) && value > 0 ? value : null;
      update();
    };
    field.addEventListener("input", () => set(field.valueAsNumber));
    range.addEventListener("input", () => {
      const [low, high] = limits();
      set(range.valueAsNumber >= 1000 ? NaN : Number((low * (high / low) ** (range.valueAsNumber / 1000)).toPrecision(3)));
    });
    $$("input[name=cost]").forEach((input) => {
      input.checked = input.value === state.cost;
      input.disabled = !has(input.value);
      input.addEventListener("change", () => { state.cost = input.value; update(); });
    });
  }

  function showBudget() {
    const field = $("#budget"), range = $("#budget-range"), budget = state.budget[state.cost];
    $("#budget-name").textContent = state.cost === "ms" ? "Deadline [ms]" : "Budget [GFLOP]";
    if (document.activeElement !== field) field.value = budget == null ? "" : Charts.number(budget);
    const [low, high] = limits();
    const place = budget == null ? 1000 : Math.min(1000, Math.max(0, 1000 * Math.log(budget / low) / Math.log(high / low)));
    if (document.activeElement !== range) range.value = place;
    $("#rate").textContent = state.cost === "ms" && budget != null ? `= ${Charts.number(1000 / budget)} Hz` : "";
  }

  function sentence(spots, variants) {
    const budget = state.budget[state.cost], cost = state.cost;
    if (!spots.length) return "No cost is known of the variants shown.";
    const spot = budget == null ? spots.at(-1) : spots.findLast((s) => s.budget <= budget);
    if (!spot) {
      const nearest = variants.filter((v) => v.candidate && v[cost] != null).sort((a, b) => a[cost] - b[cost])[0];
      return `Nothing takes ${Charts.withUnit(budget, cost)} or less; ${nearest.label} comes nearest with ${Charts.withUnit(nearest[cost], cost)}.`;
    }
    const where = budget == null ? "Without a limit" : `Within ${Charts.withUnit(budget, cost)}`;
    const text = `${where}, ${spot.best.label} has the highest rate: ${spot.best.rate.toFixed(1)} %`;
    if (!spot.runnerUp) return `${text}; it is the only one.`;
    const against = `the runner-up, ${spot.runnerUp.label} (${spot.runnerUp.rate.toFixed(1)} %)`;
    const how = { "told apart": "told apart from", equivalent: "equivalent to", "not compared": "not compared with" };
    return `${text}; it is ${how[Charts.apart(spot)] || "not told apart from"} ${against}.`;
  }

  function spotTable(box, spots) {
    const table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    const unit = Charts.UNITS[state.cost];
    for (const name of [`budget from [${unit}]`, "highest rate", "success", "runner-up", "success", "the two are"])
      head.append(element("th", name, { scope: "col" }));
    for (const spot of spots) {
      const row = body.insertRow();
      row.append(element("td", Charts.number(spot.budget)), element("th", spot.best.label, { scope: "row" }),
        element("td", `${spot.best.rate.toFixed(1)} %`), element("td", spot.runnerUp ? spot.runnerUp.label : "–"),
        element("td", spot.runnerUp ? `${spot.runnerUp.rate.toFixed(1)} %` : "–"),
        element("td", Charts.apart(spot), { class: spot.verdict === "better" ? "yes" : "open" }));
    }
    box.replaceChildren(table);
  }

  function matrix(box, variants, spots) {
    const points = variants.filter((v) => !v.baseline);
    const several = (name) => new Set(points.filter((v) => v.scales.includes(",") || name !== "input").map((v) => v[name])).size > 1;
    const rowName = (v) => [v.encoder, several("readout") && v.readout, several("input") && v.input === "interpolate" && "interpolated", v.extra].filter(Boolean).join(" · ");
    const columns = [...new Set(points.map((v) => v.scales))].sort((a, b) => a.length - b.length || a.localeCompare(b));
    const rows = [...new Set([...points].sort((a, b) => a.parameters - b.parameters).map(rowName))];
    const budget = state.budget[state.cost];
    const best = (budget == null ? spots.at(-1) : spots.findLast((s) => s.budget <= budget))?.best;
    const table = element("table", "", { class: "matrix" }), head = table.createTHead().insertRow(), body = table.createTBody();
    head.append(element("th", "encoder"), ...columns.map((scales) => element("th", `scales ${scales}`, { scope: "col" })));
    for (const name of rows) {
      const row = body.insertRow();
      row.append(element("th", name, { scope: "row" }));
      for (const scales of columns) {
        const cell = row.insertCell();
        for (const v of points.filter((each) => rowName(each) === name && each.scales === scales)) {
          const cost = v[state.cost], over = budget != null && (cost == null || cost > budget);
          const entry = element("div", "", { class: `entry${over ? " over" : ""}${v === best ? " best" : ""}`, style: `--share:${v.rate / 2.4}%` });
          entry.append(element("b", `${v.rate.toFixed(0)} %`), element("small", cost == null ? "cost unknown" : Charts.withUnit(cost, state.cost)));
          if (v === best) entry.append(element("small", "highest"));
          if (over) entry.append(element("small", "over budget"));
          cell.append(entry);
        }
      }
    }
    box.replaceChildren(table);
  }

  function update() {
    showBudget();
    $$("[data-v]").forEach((each) => { each.hidden = !allShown(each.dataset.v); });
    for (const { section, number } of groups) {
      const variants = of(data.variants, number), visible = variants.filter(shown);
      section.hidden = variants.length > 0 && state.off.level.has(variants[0].level);
      if (section.hidden) continue;
      const options = { variants: visible, pairs: of(data.pairs, number), cost: state.cost, budget: state.budget[state.cost], detail: $(".detail", section) };
      const spots = Charts.draw($(".chart", section), options);
      $(".budget", section).textContent = sentence(spots, visible);
      spotTable($(".spots", section), spots);
      matrix($(".matrix-box", section), visible, spots);
      legend($(".chart-legend", section), visible);
      $(".episodes", section).dispatchEvent(new Event("refresh"));
    }
  }

  function legend(box, variants) {
    const points = variants.filter((v) => !v.baseline && v[state.cost] != null);
    const names = new Map(points.map((v) => [`${v.encoder} · ${v.readout}`, v]));
    box.replaceChildren(...[...names].map(([name, v]) => {
      const entry = element("span");
      entry.append(element("i", "", { style: `background:${Charts.color(v)}` }), name);
      return entry;
    }));
    if (points.some((v) => v.input === "interpolate")) box.append(element("span", "hollow, dashed: interpolated pixels"));
  }

  // Rows of a table in its present order, without those that a filter hides.
  function rowsOf(table, records) {
    return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => records[Number(row.dataset.row)]);
  }

  const DROPPED = new Set(["id", "ids", "group", "color", "candidate"]);
  const plain = (record) => Object.fromEntries(Object.entries(record).filter(([name]) => !DROPPED.has(name)));

  function tables() {
    $$("table.sortable").forEach(Tables.sortable);
    $$("[data-download]").forEach((box) => {
      const [kind, number] = box.dataset.download.split(":");
      const records = of(data[kind], Number(number)).map(plain);
      Tables.downloads(box, `${kind}-${number}`, () => $$(box.dataset.of, box.closest("section")).flatMap((table) => rowsOf(table, records)));
    });
    $$("code[data-copy]").forEach((code) => code.after(Tables.copyButton(code.textContent)));
  }

  function unpack(run) {
    const variant = byId.get(run.id), names = Object.keys(run.columns);
    return Array.from({ length: run.count }, (_, i) => {
      const own = Object.fromEntries(names.map((name) => {
        const column = run.columns[name], value = Array.isArray(column) ? column[i] : column;
        return [name, name.startsWith("success_") ? Boolean(value) : value];
      }));
      return { variant: variant.label, level: variant.level, policy: variant.policy, seed: run.seed, ...own, replay: `${run.replay} ${own.index}` };
    });
  }

  function episodes(section, number) {
    const box = $(".episodes", section), variant = $(".pick-variant", box), stage = $(".pick-stage", box), list = $(".list", box);
    const runs = data.runs.filter((run) => byId.get(run.id).group === number), stages = data.stages[number];
    let count = 25, built = false;
    const rows = () => runs.filter((run) => shownId(run.id) && (!variant.value || run.id === variant.value)).flatMap(unpack)
      .filter((row) => !stage.value || row.stage === stage.value);
    const show = () => {
      if (!box.open) return;
      if (!built) { Tables.downloads($(".downloads", box), `episodes-${number}`, rows); built = true; }
      const all = rows(), table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
      for (const name of ["variant", "seed", "episode", "how it ended", "steps to success", "show it again"]) head.append(element("th", name, { scope: "col" }));
      for (const each of all.slice(0, count)) {
        const row = body.insertRow(), command = element("td", "", { class: "command" });
        command.append(element("code", each.replay), Tables.copyButton(each.replay));
        row.append(element("th", each.variant, { scope: "row" }), element("td", each.seed), element("td", each.index),
          element("td", stages[each.stage] || each.stage), element("td", each.steps_to_success ?? "–"), command);
      }
      list.replaceChildren(table);
      $(".count", box).textContent = `${Math.min(count, all.length)} of ${all.length} episodes`;
      $(".more", box).hidden = count >= all.length;
    };
    variant.append(...of(data.variants, number).filter((v) => runs.some((run) => run.id === v.id)).map((v) => new Option(v.label, v.id)));
    stage.append(...Object.entries(stages).map(([key, name]) => new Option(name, key)));
    [variant, stage].forEach((select) => select.addEventListener("change", () => { count = 25; show(); }));
    $(".more", box).addEventListener("click", () => { count += 100; show(); });
    box.addEventListener("toggle", show);
    box.addEventListener("refresh", show);
  }

  $$("video").forEach((video) => video.addEventListener("error", () => {
    video.replaceWith(element("p", "This browser cannot play H.264 video; the command below writes it as a file.", { class: "note" }));
  }));
  document.body.classList.add("live");
  $("#controls").hidden = false;
  filters();
  budgetControls();
  tables();
  groups.forEach(({ section, number }) => episodes(section, number));
  update();
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
})();
