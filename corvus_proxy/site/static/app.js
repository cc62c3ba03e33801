// Keeps the dashboard's figures fresh; without it the page is complete, only still.
const figures = document.querySelectorAll("[data-figure]");

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch("/dashboard.json", { redirect: "manual" });
  if (!answer.ok) return;
  const view = await answer.json();
  for (const one of figures) one.textContent = view[one.dataset.figure];
}

if (figures.length) setInterval(() => refresh().catch(() => {}), 3000);
