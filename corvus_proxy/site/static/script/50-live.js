// Keeps an open overview fresh. Without it every page is complete, only still.
//
// Figures come as server-sent events, and by asking every 15 s while those are away; when they tell of
// a new charge, the lists are taken out of a fresh copy of the page. Nothing here computes an amount,
// and no tick is announced: only what stands in `data-live="standing"` is, when it changes.
const POLL_MS = 15e3;
const SILENT_MS = 40e3; // the server says something every 15 s
const LIST_MS = 3000; // lists are heavier for the server than figures
const NEW_MS = 3600e3; // younger than this, a time is told as an age

const asOf = document.querySelector("[data-as-of]");
let feed;
let heardAt = 0;
let seq;
let listedAt = 0;
let listing;
let freshAt = "";
let enough = false;

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
  listedAt = Date.now();
  const answer = await fetch("/dashboard");
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${old.dataset.live}"]`);
    if (!now) old.remove();
    else if (!old.contains(document.activeElement) && !old.isEqualNode(now)) {
      const open = [...old.querySelectorAll("details")].map((one) => one.open);
      now.querySelectorAll("details").forEach((one, at) => (one.open = open[at] ?? false));
      old.replaceWith(now);
    }
  }
  dress();
}

function askLists() {
  clearTimeout(listing);
  listing = setTimeout(() => freshLists().catch(lost), Math.max(0, listedAt + LIST_MS - Date.now()));
}

function take(view) {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const usd = view[place.dataset.figure];
    if (usd !== undefined) show(place, usd);
  }
  const change = view.seq ?? view.spent;
  if ((seq !== undefined && change !== seq) || document.querySelector("[data-incomplete]")) askLists();
  seq = change;
}

function alive() {
  heardAt = Date.now();
  freshAt = new Date().toLocaleTimeString();
  asOf.textContent = `As of ${freshAt}, live`;
}

function lost() {
  asOf.textContent = freshAt ? `As of ${freshAt}, reconnecting` : "Reconnecting";
}

function listen() {
  feed?.close();
  heardAt = Date.now();
  feed = new EventSource("/dashboard/events");
  feed.addEventListener("figures", (event) => {
    alive();
    take(JSON.parse(event.data));
  });
  feed.addEventListener("beat", alive);
  feed.addEventListener("ended", () => location.assign("/login"));
  feed.addEventListener("enough", () => {
    enough = true; // other pages of this key are open: this one asks instead
    feed.close();
  });
  feed.onerror = lost;
}

async function ask() {
  const answer = await fetch("/dashboard.json?part=figures");
  if (answer.status === 401) return location.assign("/login");
  if (!answer.ok) throw new Error(answer.status);
  seq = undefined; // counted otherwise than in the events
  take(await answer.json());
  askLists();
  freshAt = new Date().toLocaleTimeString();
  asOf.textContent = `As of ${freshAt}, reconnecting`;
}

function dress() {
  tellAges();
  offerCopies();
  for (const line of document.querySelectorAll(".waiting")) line.hidden = false;
}

dress();
setInterval(tellAges, 5000);
if (asOf) {
  listen();
  setInterval(() => {
    if (document.hidden) return;
    const silent = Date.now() - heardAt > SILENT_MS;
    if (feed.readyState === EventSource.OPEN && !silent) return;
    ask().catch(lost);
    if (!enough && (silent || feed.readyState === EventSource.CLOSED)) listen();
  }, POLL_MS);
}
