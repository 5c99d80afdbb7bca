"use strict";
// Tables: sorting by a click on a heading, download of the rows that are shown, copying of commands.
const Tables = (() => {
  const collator = new Intl.Collator("en", { numeric: true });

  function valueOf(cell) {
    if (cell.dataset.s === undefined) return cell.textContent.trim();
    return cell.dataset.s === "" ? null : Number(cell.dataset.s);
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
  }

  function sortBy(table, column, heading) {
    const down = heading.getAttribute("aria-sort") !== "descending";
    table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : (down ? -1 : 1) * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  }

  function sortable(table) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      if (heading.classList.contains("mark") && heading.dataset.sort === undefined) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sortBy(table, column, heading));
    });
  }

  function csv(rows) {
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [names, ...rows.map((row) => names.map((name) => row[name]))].map((r) => r.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  function save(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // Two buttons that save what `rows` returns at the time of the click.
  function downloads(box, name, rows) {
    for (const kind of ["csv", "json"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `Download ${kind.toUpperCase()}`;
      button.addEventListener("click", () => {
        const text = kind === "csv" ? csv(rows()) : JSON.stringify(rows(), null, 1) + "\n";
        save(`${name}.${kind}`, text, kind === "csv" ? "text/csv" : "application/json");
      });
      box.append(button);
    }
  }

  async function copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  function copyButton(text) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${text}`);
    button.addEventListener("click", () => copy(button, text));
    return button;
  }

  return { sortable, downloads, csv, copyButton };
})();
