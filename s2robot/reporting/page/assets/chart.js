"use strict";
// Success against cost, drawn with Observable Plot; colors are CSS variables, so dark mode is CSS.
const Charts = (() => {
  const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
  const UNITS = { ms: "ms", gflops: "GFLOP" };
  const AXES = {
    ms: "one frame, encoder and policy [ms, measured median, log scale]",
    gflops: "encoder cost per frame [GFLOP, log scale]",
  };
  const SHORT_AXES = { ms: "one frame [ms, log scale]", gflops: "one frame [GFLOP, log scale]" };
  const number = (value) => Number(value.toPrecision(3)).toLocaleString("en", { useGrouping: false });
  const withUnit = (value, cost) => `${number(value)} ${UNITS[cost]}`;
  const color = (v) => (v.color === "gray" ? "var(--gray)" : `var(--c${v.color})`);

  function describe(v) {
    const lines = [
      v.label,
      `success ${v.rate.toFixed(1)} % (${v.low.toFixed(0)} to ${v.high.toFixed(0)})`,
      `${v.successes} of ${v.episodes} episodes, ${v.seeds} training seed${v.seeds > 1 ? "s" : ""}`,
    ];
    if (v.ms != null) lines.push(`${withUnit(v.ms, "ms")} a frame${v.ms_p95 == null ? "" : `, p95 ${number(v.ms_p95)}`}`);
    if (v.gflops != null) lines.push(`${withUnit(v.gflops, "gflops")} a frame`);
    if (v.readout) lines.push(`readout ${v.readout}, ${v.input} pixels`);
    return lines.join("\n");
  }

  // The same rule as s2robot/reporting/tradeoff/sweet_spots.py, on the variants that are shown.
  function sweetSpots(variants, pairs, cost) {
    const known = variants.filter((v) => v.candidate && v[cost] != null).sort((a, b) => a[cost] - b[cost]);
    const found = [];
    for (const budget of new Set(known.map((v) => v[cost]))) {
      const within = known.filter((v) => v[cost] <= budget);
      within.sort((a, b) => b.rate - a.rate || a[cost] - b[cost]);
      const [best, second] = within;
      const last = found.at(-1);
      if (!last || last.best !== best || last.runnerUp !== second)
        found.push({ budget, best, runnerUp: second, verdict: second ? verdictOn(best, second, pairs) : null });
    }
    return found;
  }

  function verdictOn(best, other, pairs) {
    const opposite = { better: "worse", worse: "better" };
    for (const pair of pairs) {
      if (pair.ids[0] === other.id && pair.ids[1] === best.id) return pair.verdict;
      if (pair.ids[0] === best.id && pair.ids[1] === other.id) return opposite[pair.verdict] || pair.verdict;
    }
    return null;
  }

  const apart = (spot) => {
    if (!spot.runnerUp) return "the only one";
    if (spot.verdict === "better") return "told apart";
    if (spot.verdict === "equivalent") return "equivalent";
    return spot.verdict === null ? "not compared" : "not told apart";
  };

  function series(points) {
    const groups = new Map();
    for (const v of points.filter((each) => !each.extra)) {
      const key = `${v.encoder} ${v.readout}`;
      groups.set(key, [...(groups.get(key) || []), v]);
    }
    const lines = [];
    for (const [key, own] of groups)
      for (const input of ["native", "interpolate"]) {
        const chain = own.filter((v) => v.input === input || !v.scales.includes(","));
        if (chain.length > 1 && chain.some((v) => v.input === input && v.scales.includes(",")))
          lines.push(...chain.map((v) => ({ ...v, line: `${key} ${input}`, dashed: input !== "native" })));
      }
    return lines;
  }

  function domain(points, cost, budget) {
    const costs = points.map((v) => v[cost]);
    if (budget != null && budget > 0) costs.push(budget);
    return costs.length ? [Math.min(...costs) / 1.35, Math.max(...costs) * 1.6] : [1, 10];
  }

  function marks(points, bands, spots, cost, budget, limits) {
    const steps = spots.map((s) => ({ x: s.budget, y: s.best.rate }));
    if (steps.length) steps.push({ x: limits[1], y: steps.at(-1).y });
    const lines = series(points);
    const at = { x: cost, y: "rate" };
    const beyond = budget != null && budget < limits[1] ? [Math.max(budget, limits[0])] : [];
    return [
      Plot.rect(beyond, { x1: (d) => d, x2: limits[1], y1: 0, y2: 100, fill: "var(--track)", fillOpacity: 0.7 }),
      Plot.rect(bands, { y1: "low", y2: "high", fill: "var(--gray)", fillOpacity: 0.18 }),
      Plot.ruleY(bands, { y: "rate", stroke: "var(--gray)", strokeDasharray: "2,4" }),
      Plot.text(bands, { y: "rate", frameAnchor: "right", dx: -4, dy: -8, textAnchor: "end", fill: "var(--soft)",
        text: (v) => `${v.label} ${v.rate.toFixed(0)} %` }),
      Plot.line(steps, { x: "x", y: "y", curve: "step-after", stroke: "var(--ink)", strokeOpacity: 0.4, strokeWidth: 1.2,
        ariaLabel: () => "highest rate within the budget" }),
      ...[false, true].map((dashed) => Plot.line(lines.filter((v) => v.dashed === dashed), { ...at, z: "line", sort: cost,
        stroke: color, strokeOpacity: 0.55, strokeDasharray: dashed ? "5,4" : null })),
      Plot.ruleX(points, { x: cost, y1: "low", y2: "high", stroke: color, strokeWidth: 1.6 }),
      Plot.ruleX(beyond.filter((d) => d === budget), { stroke: "var(--no)", strokeWidth: 1.6, strokeDasharray: "6,4", ariaLabel: () => "deadline" }),
      Plot.text(beyond.filter((d) => d === budget), { x: (d) => d, frameAnchor: "top", dy: -13, fill: "var(--no)", fontWeight: 600,
        textAnchor: "middle", text: (d) => withUnit(d, cost) }),
      Plot.dot(points, { ...at, symbol: "readout", r: 5.5, stroke: color, strokeWidth: 2, ariaLabel: "label",
        fill: (v) => (v.input === "interpolate" ? "var(--card)" : color(v)) }),
      Plot.text(points, { ...at, text: (v) => `${v.scales} ${v.extra}`.trim(), dx: 10, dy: -9, textAnchor: "start", fill: color, fontWeight: 600 }),
      Plot.tip(points, Plot.pointer({ ...at, title: describe, fontSize: 12.5, lineHeight: 1.35, maxRadius: 45 })),
    ];
  }

  // Draw one group; returns the sweet spots that the chart shows.
  function draw(box, { variants, pairs, cost, budget, detail }) {
    const points = variants.filter((v) => !v.baseline && v[cost] != null && v[cost] > 0);
    const spots = sweetSpots(variants, pairs, cost);
    const width = Math.max(280, box.clientWidth), narrow = width < 560;
    const limits = domain(points, cost, budget);
    const bands = variants.filter((v) => v.baseline);
    const chart = Plot.plot({
      width, height: narrow ? 330 : 400, marginLeft: 44, marginTop: 26, marginBottom: 44, marginRight: 16,
      style: { fontSize: "12.5px", overflow: "visible" },
      x: { type: "log", domain: limits, label: (narrow ? SHORT_AXES : AXES)[cost], tickFormat: (d) => number(d), labelArrow: "none", labelAnchor: "center", labelOffset: 38, ...ticks(limits, width) },
      y: { domain: [0, 105], ticks: [0, 20, 40, 60, 80, 100], grid: true, label: "success [%]", labelArrow: "none" },
      color: { type: "identity" },
      symbol: { domain: [...new Set(points.map((v) => v.readout))], range: SYMBOLS },
      marks: marks(points, bands, spots, cost, budget, limits),
    });
    chart.setAttribute("role", "group");
    chart.setAttribute("aria-label", `Success against ${AXES[cost]}; ${points.length} variants. The table below has the same numbers.`);
    const tell = (v) => { detail.textContent = v ? describe(v).replaceAll("\n", " · ") : detail.dataset.hint; };
    chart.addEventListener("input", () => tell(chart.value));
    focusable(chart, points, tell);
    box.replaceChildren(chart);
    separate(chart);
    return spots;
  }

  // Ticks at 1, 2 and 5, as many as the width has room for.
  function ticks([low, high], width) {
    const all = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
      all.push(...[1, 2, 5].map((d) => d * 10 ** power));
    const inside = all.filter((d) => d >= low && d <= high);
    const few = inside.filter((d) => /^1/.test(d.toExponential()));
    return { ticks: inside.length > width / 45 && few.length > 1 ? few : inside };
  }

  function focusable(chart, points, tell) {
    const dots = chart.querySelectorAll("g[aria-label=dot] > *");
    dots.forEach((dot) => {
      const label = dot.getAttribute("aria-label");
      const point = points.find((v) => v.label === label);
      dot.setAttribute("tabindex", "0");
      dot.setAttribute("role", "img");
      if (point) dot.setAttribute("aria-label", describe(point).replaceAll("\n", ", "));
      dot.addEventListener("focus", () => tell(point));
      dot.addEventListener("blur", () => tell(null));
    });
  }

  // Move labels of scale sets that cover another label or a point to the next free side.
  function separate(chart) {
    const groups = [...chart.querySelectorAll("g[aria-label=text]")];
    const labels = groups.flatMap((group) => [...group.querySelectorAll("text")]);
    const taken = [...chart.querySelectorAll("g[aria-label=dot] > *")].map((dot) => dot.getBoundingClientRect());
    const hits = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const frame = chart.getBoundingClientRect();
    for (const label of labels) {
      let best = null;
      const before = label.getAttribute("transform") || "";
      const width = label.getBoundingClientRect().width;
      for (const [dx, dy] of [[0, 0], [0, 20], [-width - 20, 0], [-width - 20, 20], [0, -12], [0, 32], [-width - 20, -12], [-width - 20, 32]]) {
        label.setAttribute("transform", `${before} translate(${dx},${dy})`);
        const box = label.getBoundingClientRect();
        const outside = box.right > frame.right || box.left < frame.left + 40;
        const count = taken.filter((other) => hits(box, other)).length + 2 * outside;
        if (best === null || count < best.count) best = { count, transform: label.getAttribute("transform") };
        if (count === 0) break;
      }
      label.setAttribute("transform", best.transform);
      taken.push(label.getBoundingClientRect());
    }
  }

  return { draw, describe, sweetSpots, apart, number, withUnit, color, UNITS };
})();
