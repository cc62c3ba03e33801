// Checkout's sum follows what is typed; an open order's page follows its order.
// No amount is computed here: both ask the server.
const SUM_MS = 250;
const ORDER_MS = 3000;

function followSum(form) {
  let timer;
  const ask = async () => {
    const amount = form.elements.amount.value.trim() || form.elements.preset_amount.value;
    const answer = await fetch(`/checkout/price.json?amount=${encodeURIComponent(amount)}`);
    const view = await answer.json();
    const note = form.querySelector("[data-line-note]");
    form.elements.amount.setAttribute("aria-invalid", String(Boolean(view.problem)));
    if (view.problem) return void (note.textContent = view.problem);
    note.textContent = "The next page shows the sum again before you pay.";
    for (const place of form.querySelectorAll("[data-line]")) place.textContent = view[place.dataset.line];
  };
  form.addEventListener("input", (event) => {
    if (!event.target.name.includes("amount")) return;
    clearTimeout(timer);
    timer = setTimeout(() => ask().catch(() => {}), SUM_MS);
  });
}

// Told at five minutes and at one, and not in between: nobody wants to hear a clock.
function tellLeft(say) {
  const place = document.querySelector("[data-until]");
  if (!place) return;
  const left = Math.round((new Date(place.dataset.until) - Date.now()) / 1000);
  if (left <= 0) return void (place.textContent = "0 s");
  place.textContent = left < 120 ? `${left} s` : `${Math.floor(left / 60)} min`;
  for (const mark of [300, 60]) {
    if (left <= mark && left > mark - 4) say(`The quote ends in ${mark / 60} min. A later payment counts too.`);
  }
}

function followOrder() {
  const told = document.querySelector("[data-say]");
  const say = (text) => {
    if (told.textContent !== text) told.textContent = text;
  };
  let settled = false;
  setInterval(() => tellLeft(say), 1000);
  const look = async () => {
    const page = document.querySelector("[data-order]");
    if (document.hidden || settled || page.contains(document.activeElement?.closest("form"))) return;
    const answer = await fetch(`${page.dataset.order}.json`);
    if (!answer.ok) return;
    const view = await answer.json();
    settled = view.settled;
    if (view.stand === page.dataset.stand) return;
    const fresh = await (await fetch(page.dataset.order)).text();
    const now = new DOMParser().parseFromString(fresh, "text/html").querySelector("[data-order]");
    if (!now) return;
    page.replaceWith(now);
    offerCopies();
    say(now.querySelector("[data-title]").textContent);
  };
  setInterval(() => look().catch(() => {}), ORDER_MS);
}

if (document.querySelector("[data-checkout]")) followSum(document.querySelector("[data-checkout]"));
if (document.querySelector("[data-order]")) followOrder();
if (document.querySelector(".given, .copy")) offerCopies();
