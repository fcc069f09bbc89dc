// The script of the live page, live.py. Nothing here needs a build step.

import {
  getAuth,
  getTokenClaims,
  recentAuth,
  refreshAuth,
  signOut,
  subscribe,
  switchToOrganization,
  watchExpiry,
} from "./auth/authkit.js";

const RECENT = 120; // seconds
const LOG_LENGTH = 50;

const find = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];

/** Put a text into the page, where it is another one than before. */
function say(name, text) {
  const place = find(`[data-fact="${name}"]`);
  if (place.textContent !== text) place.textContent = text ?? "";
}

function notice(id, ...content) {
  find(id).replaceChildren(...content);
  find(id).hidden = content.length === 0;
}

function linkTo(href, text) {
  const link = document.createElement("a");
  Object.assign(link, { href, textContent: text });
  return link;
}

// Times

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "short",
});
const timeOf = (seconds) => clock.format(seconds * 1000);

/** A number of seconds in the two largest units, such as "4 min 05 s". */
function span(seconds) {
  const units = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ];
  const whole = Math.max(0, Math.round(seconds));
  const first = units.findIndex(([, size]) => whole >= size || size === 1);
  let rest = whole;
  return units
    .slice(first, first + 2)
    .map(([unit, size], place) => {
      const number = Math.floor(rest / size);
      rest %= size;
      return `${place ? String(number).padStart(2, "0") : number} ${unit}`;
    })
    .join(" ");
}

// What is shown

let claims = {};
let end; // of the session, Unix seconds
let shown; // the state that the page shows
let renewals = -1;

function show(state) {
  const before = shown;
  shown = state;
  if (state.error !== before?.error && !state.loading) showError(state.error);
  if (state.user !== undefined && state.user !== before?.user) showUser(state.user);
  if (!state.user) return;
  say("role", state.role ?? "");
  say("permissions", state.permissions.join(", "));
  say("impersonator", state.impersonator?.email ?? "Nobody");
  say("reason", state.impersonator?.reason ?? "");
  const isOther = ["sessionId", "organizationId"].some(
    (key) => state[key] !== before?.[key],
  );
  if (isOther) void showDetails(state);
  if (state.accessToken !== before?.accessToken) void showToken(state.accessToken);
}

function showError(error) {
  if (error?.isTransient) notice("#problem", "The site, or WorkOS, cannot be reached.");
  else notice("#problem");
}

function showUser(user) {
  for (const part of all("[data-when]")) {
    part.hidden = (part.dataset.when === "in") !== Boolean(user);
  }
  // The header is of when the page was loaded.
  find(".who").hidden = (user?.id ?? "") !== find("#live").dataset.user;
  if (!user) notice("#expiring");
  say("name", user?.name ?? "");
  say("email", user?.email ?? "");
}

/** Show what only WorkOS knows: what the organization is called, when all ends. */
async function showDetails({ organizationId }) {
  for (const row of all("[data-organization]")) {
    const isCurrent = row.dataset.organization === organizationId;
    row.querySelector("form").hidden = isCurrent;
    row.querySelector(".soft").hidden = !isCurrent;
  }
  say("organization", organizationId ?? "None");
  const include = ["organization", "expiry"];
  const auth = await getAuth({ include }).catch(() => ({}));
  if (auth.organizationId !== organizationId) return;
  say("organization", auth.organization?.name ?? organizationId ?? "None");
  end = auth.sessionExpiresAt ?? undefined;
  say("end", end ? day.format(end * 1000) : "Unknown");
  tick();
}

async function showToken(accessToken) {
  claims = await getTokenClaims().catch(() => ({}));
  renewals += 1;
  say("token", accessToken ? `${accessToken.slice(0, 12)}…` : "");
  say("issued", claims.iat ? timeOf(claims.iat) : "");
  say("renewed", ["Not yet", "Once"][renewals] ?? `${renewals} times`);
  tick();
}

function tick() {
  const now = Date.now() / 1000;
  const { exp, iat, auth_time: authTime } = claims;
  if (exp) {
    Object.assign(find("#life"), { max: exp - iat, value: Math.max(0, exp - now) });
    say("expires", exp > now ? `in ${span(exp - now)}` : "now");
  }
  if (authTime) say("authenticated", `${span(now - authTime)} ago`);
  if (end) say("left", span(end - now));
}

// What people do. Whatever goes wrong is said and nothing is lost.

async function act(what, work) {
  notice("#problem");
  tell(what);
  const { error } = (await work()) ?? {};
  if (!error) return;
  if (error.code === "authorization_required" && error.signInUrl) {
    location.assign(comingBack(error.signInUrl)); // SSO, for instance
  } else if (error.isTransient) {
    notice("#problem", "WorkOS cannot be reached. You stay signed in; try again soon.");
  } else {
    notice("#problem", error.message);
  }
}

/** The sign-in that comes back to this page. */
function comingBack(signInUrl) {
  const url = new URL(signInUrl, location.href);
  if (url.origin === location.origin) {
    url.searchParams.set("return_to", location.pathname);
  }
  return url.href;
}

find("#refresh").addEventListener("click", () => {
  void act("refreshes the token", () => refreshAuth());
});

find("#check").addEventListener("click", async () => {
  const isRecent = await recentAuth({ maxAge: RECENT }).catch(() => undefined);
  find("#checked").value =
    isRecent === undefined
      ? "Nobody can say just now."
      : isRecent
        ? `Yes, at ${timeOf(Date.now() / 1000)}.`
        : "No: sign in again first.";
});

find("#organizations")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const row = event.target.closest("[data-organization]");
  const name = row.querySelector("strong").textContent;
  void act(`switches to ${name}`, () => switchToOrganization(row.dataset.organization));
});

find(".who form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  void act("signs out", () => signOut().catch((error) => ({ error })));
});

// The coming end

addEventListener("authkit:expiring", ({ detail }) => {
  const at = timeOf(Date.now() / 1000 + detail.secondsLeft);
  const again = linkTo(find("#again").href, "Sign in again");
  notice("#expiring", `Your session ends at ${at}. `, again, " to stay.");
});
addEventListener("authkit:expired", () => tell("finds that the session is over"));
watchExpiry();

// Other tabs of this page

const self = `Tab ${Math.random().toString(36).slice(2, 5).toUpperCase()}`;
const others = new Map();
const channel = new BroadcastChannel(new URL(".", import.meta.url).pathname + " live");

function log(who, what) {
  const line = document.createElement("li");
  line.textContent = `${clock.format(Date.now())} ${who} ${what}.`;
  find("#log").prepend(line);
  while (find("#log").children.length > LOG_LENGTH) find("#log").lastChild.remove();
}

/** Log something here, and have the others log it. */
function tell(what) {
  log("This tab", what);
  channel.postMessage({ from: self, what });
}

channel.onmessage = ({ data: { from, what, isAnswer } }) => {
  if (what === undefined) {
    if (!isAnswer) channel.postMessage({ from: self, isAnswer: true });
    others.set(from, true);
  } else if (what === "is closed") {
    others.delete(from);
  } else {
    log(from, what);
  }
  say("others", [...others.keys()].sort().join(", ") || "None");
};

// What the client asks of the site by itself.
const ASKED = { token: "asks for the token", session: "asks who is signed in" };
new PerformanceObserver((list) => {
  for (const { name } of list.getEntries()) {
    const what = ASKED[name.split("/auth/").at(-1)];
    if (what) tell(what);
  }
}).observe({ type: "resource", buffered: true });

addEventListener("pagehide", () =>
  channel.postMessage({ from: self, what: "is closed" }),
);
addEventListener("pageshow", () => channel.postMessage({ from: self }));

say("tab", self);
say("others", "None");
for (const button of all("button:disabled")) button.disabled = false;
find(".late").hidden = true;
subscribe(show);
setInterval(tick, 1_000);
