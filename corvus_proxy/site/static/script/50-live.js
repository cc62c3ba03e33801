// Keeps an open dashboard fresh. Without it every page is complete, only still.
//
// Figures come every few seconds as JSON; when they tell of a new charge, the lists are taken out
// of a fresh copy of the page. Nothing here computes an amount.
const POLL_MS = 4000;
const LIST_MS = 8000; // lists are heavier for the server than figures
const NEW_MS = 3600e3; // younger than this, a time is told as an age

const asOf = document.querySelector("[data-as-of]");
let spent = document.querySelector('[data-figure="spent"]')?.textContent;
let listedAt = 0;
let freshAt = "";

// "4.9926" as 4.99 and a small 26, as the server writes it.
function show(place, usd) {
  const cut = usd.indexOf(".") + 3;
  if (place.textContent === usd) return;
  place.textContent = usd.slice(0, cut);
  if (usd.length > cut) {
    const small = document.createElement("small");
    small.textContent = usd.slice(cut);
    place.append(small);
  }
}

function tellAges() {
  for (const time of document.querySelectorAll("time")) {
    const when = new Date(time.dateTime);
    const age = Date.now() - when;
    const seconds = Math.max(0, Math.round(age / 1000));
    time.title ||= `${time.textContent.trim()} UTC`;
    if (age > NEW_MS) time.textContent = time.title.slice(0, -4);
    else time.textContent = seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
  }
}

async function freshLists() {
  const answer = await fetch("/dashboard");
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${old.dataset.live}"]`);
    if (!now) old.remove();
    else if (!old.contains(document.activeElement)) old.replaceWith(now);
  }
  listedAt = Date.now();
  dress();
}

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch("/dashboard.json?part=figures");
  if (answer.status === 401) return location.assign("/login");
  if (!answer.ok) throw new Error(answer.status);
  const view = await answer.json();
  for (const place of document.querySelectorAll("[data-figure]")) show(place, view[place.dataset.figure]);
  freshAt = new Date().toLocaleTimeString();
  asOf.textContent = `As of ${freshAt}, live`;
  const due = view.spent !== spent || document.querySelector("[data-incomplete]");
  if (due && Date.now() - listedAt > LIST_MS) {
    await freshLists();
    spent = view.spent;
  }
}

function dress() {
  tellAges();
  offerCopies();
  for (const line of document.querySelectorAll(".waiting")) line.hidden = false;
}

if (asOf) {
  dress();
  setInterval(() => {
    tellAges();
    refresh().catch(() => {
      asOf.textContent = freshAt ? `As of ${freshAt}, reconnecting` : "Reconnecting";
    });
  }, POLL_MS);
}
