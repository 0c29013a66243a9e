document.querySelectorAll("table.sortable").forEach(table => table.querySelectorAll("th").forEach((head, column) => {
  if (head.hasAttribute("aria-hidden")) return;
  const button = document.createElement("button");
  button.append(...head.childNodes);
  head.append(button);
  button.onclick = () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => Number(row.children[column].dataset.value);
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * (value(a) - value(b))));
  };
}));
