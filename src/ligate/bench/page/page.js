"use strict";
// Tables can be sorted by a column, each group of rows for itself: the best first, at the second time the worst.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const was = head.getAttribute("aria-sort");
      const text = !head.classList.contains("number");
      const first = text || head.hasAttribute("data-low") ? "ascending" : "descending";
      const order = was ? (was === "ascending" ? "descending" : "ascending") : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const known = (row) => text || row.cells[column].dataset.v !== undefined;
      const compared = (a, b) => text
        ? a.cells[column].textContent.localeCompare(b.cells[column].textContent)
        : Number(a.cells[column].dataset.v) - Number(b.cells[column].dataset.v);
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        rows.sort((a, b) => known(b) - known(a) || (known(a) ? sign * compared(a, b) : 0));
        body.append(...rows);
      }
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
  table.classList.add("ready");
  document.body.classList.add("sorts");
}
