"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const FIRST = 10;
  const items = [...document.querySelectorAll("ol.changed > li")];
  const [at, kind, count, none, more] = ["at", "kind", "count", "none", "more"].map(id => document.getElementById(id));
  const fits = item => item.dataset.changes.split(" ").some(change => {
    const [speedup, way] = change.split(":");
    return (!at.value || at.value === speedup) && (!kind.value || kind.value === way);
  });
  const show = all => {
    const found = items.filter(fits);
    const shown = all ? found : found.slice(0, FIRST);
    for (const item of items) item.hidden = !shown.includes(item);
    count.value = `${shown.length} of ${found.length} shown`;
    none.hidden = found.length > 0;
    more.hidden = shown.length === found.length;
    more.textContent = `Show all ${found.length}`;
  };
  form.addEventListener("input", () => show(false));
  form.addEventListener("submit", event => event.preventDefault());
  more.addEventListener("click", () => show(true));
  addEventListener("beforeprint", () => show(true));
  show(false);
})();
