/**
 * The demo's page: a client for each place of the refresh token, a thief, and all that they do.
 * What a page of yours needs is in jwt-client.js; this one is about showing it.
 */

import { JWTClient, NoKey } from "./jwt-client.js";

const AHEAD = 0.25; // the last quarter of an access token's life, so that one sees it coming
const PACE = 6000; // milliseconds between the thief's refreshes
const POLL = 1000; // milliseconds between looks at the server's events
const STEPS = 7; // generations shown
const REQUESTS = 20; // requests shown
const EVENTS = 60; // events shown
const REFRESH = "/auth/refresh";
const ME = "/api/me";

const $ = (id) => document.getElementById(id);

/** What the page knows beside what the clients hold. */
const page = {
  tokens: null, // the last ones, which are shown on when the login has ended
  ended: null, // why it ended: a key of ENDS; "pending" until the server's reason is known
  events: [],
  last: 0, // number of the newest event
  limits: null,
  requests: [],
  losesNext: false,
  thief: null, // {access, refresh, scheme, status, tries, refreshes, nextAt, timer}
};

const options = { ahead: AHEAD, keepFresh: true, fetch: (...sent) => send("you", ...sent) };
const clients = {
  header: new JWTClient({ ...options, name: "demo" }),
  cookie: new JWTClient({ ...options, name: "demo-cookie", mode: "cookie" }),
};
let client = clients.cookie.isLoggedIn ? clients.cookie : clients.header;

// --- requests: all that this tab sends goes through here and is listed

async function send(who, input, init) {
  const request = new Request(input, init);
  const { pathname } = new URL(request.url);
  const entry = { who, what: `${request.method} ${pathname}`, at: Date.now(), note: "" };
  try {
    const answer = await fetch(request);
    entry.status = answer.status;
    entry.challenge = answer.headers.get("WWW-Authenticate");
    if (pathname.startsWith("/auth/") && !answer.ok) {
      entry.note = (await answer.clone().json()).error;
    }
    if (page.losesNext && who === "you" && pathname === REFRESH) {
      page.losesNext = false;
      entry.note = "the answer got lost";
      throw new TypeError(entry.note);
    }
    return answer;
  } catch (error) {
    entry.status ??= "no answer";
    throw error;
  } finally {
    page.requests = [entry, ...page.requests].slice(0, REQUESTS);
    renderRequests();
    lookSoon();
  }
}

/** Call the API as an application does, and say what came. */
async function call(path, init) {
  try {
    const answer = await client.fetch(path, init);
    const { status } = answer;
    say(answer.ok ? `${path} answered ${await answer.text()}` : `${path} was refused: ${status}.`);
    return answer;
  } catch {
    say("The server can't be reached.");
    return null;
  }
}

// --- the thief: a copy of the refresh token, and no manners

function steal() {
  const { refresh_token: refresh, access_token: access, token_type: scheme } = client.tokens;
  page.thief = { refresh, access, scheme, status: "waits", tries: 0, refreshes: 0 };
  say(
    client.isBound
      ? "Somebody has a copy of both tokens now. Of the key nobody can have one."
      : "Somebody has a copy of your refresh token now, and neither of you notices anything.",
  );
  planTheft(PACE / 2);
  render();
}

function planTheft(wait) {
  clearTimeout(page.thief.timer);
  page.thief.nextAt = Date.now() + wait;
  page.thief.timer = setTimeout(actAsThief, wait);
}

async function actAsThief() {
  const { thief } = page;
  clearTimeout(thief.timer);
  const form = { grant_type: "refresh_token", refresh_token: thief.refresh };
  const body = new URLSearchParams(form);
  try {
    const bought = await send("thief", REFRESH, { method: "POST", body, credentials: "omit" });
    thief.tries += 1;
    if (bought.ok) {
      const tokens = await bought.json();
      thief.refresh = tokens.refresh_token ?? thief.refresh;
      thief.access = tokens.access_token;
      thief.refreshes += 1;
    }
    const headers = { Authorization: `${thief.scheme} ${thief.access}` };
    const me = await send("thief", ME, { headers, credentials: "omit" });
    thief.status = bought.ok && me.ok ? "inside" : client.isBound ? "keyless" : "out";
  } catch {
    // The server is gone for the thief, too: the next try will tell.
  }
  if (!STOPPED.has(thief.status) && page.thief === thief) planTheft(PACE);
  render();
}

const STOPPED = new Set(["out", "keyless"]);

function forgetThief() {
  if (page.thief) clearTimeout(page.thief.timer);
  page.thief = null;
}

// --- tokens, taken apart

function decode(token) {
  const [header, payload] = token.split(".", 2).map((part) => {
    const octets = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(octets, (c) => c.charCodeAt(0))));
  });
  return { header, payload };
}

const claimsOf = (tokens) => (tokens ? decode(tokens.access_token).payload : null);
const generationOf = (token) => (token ? decode(token).payload.gen : null);

/** Change one letter of the payload, as somebody would who wants to be somebody else. */
function forge(token) {
  const at = token.indexOf(".") + 20;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}

// --- what the server saw

let wake = () => {};
let isAwake = false;

function lookSoon() {
  isAwake = true;
  wake();
}

async function watch() {
  for (;;) {
    isAwake = false;
    await look();
    if (isAwake) continue;
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, POLL);
    });
  }
}

async function look() {
  try {
    const answer = await fetch(`/events?after=${page.last}`, { credentials: "omit" });
    const { events, limits } = await answer.json();
    const isFirst = page.limits === null;
    page.limits = limits;
    if (isFirst) renderLimits();
    chip($("online"), "good", "live");
    const news = events.filter(({ number }) => number > page.last);
    if (!news.length) return;
    page.last = news.at(-1).number;
    page.events.push(...news);
    renderEvents(news, isFirst);
    render();
  } catch {
    chip($("online"), "bad", "server gone");
  }
}

// --- rendering: `render` may be called at any time, and shows what is

function make(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function chip(element, tone, text) {
  element.className = `chip ${tone}`;
  element.textContent = text;
}

const say = (text) => $("status").replaceChildren(text);
const clock = (milliseconds) => new Date(milliseconds).toTimeString().slice(0, 8);
const short = (id) => id.slice(0, 8);
const entry = (name, text) => make("div", "", make("dt", "", name), make("dd", "", text));

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`;
}

/** Disabled, and still reached by keys: what has the focus must not vanish under the user. */
function disable(id, isDisabled) {
  if (isDisabled) $(id).setAttribute("aria-disabled", "true");
  else $(id).removeAttribute("aria-disabled");
}

function render() {
  const isIn = client.isLoggedIn;
  const isCookie = client.mode === "cookie";
  if (client.tokens) page.tokens = client.tokens;
  const { tokens, ended } = page;
  const claims = claimsOf(tokens);
  $("login").hidden = isIn || ended !== null;
  $("inside").hidden = !$("login").hidden;
  $("actions").hidden = ended !== null;
  $("status").hidden = ended !== null;
  document.body.classList.toggle("ended", ended !== null);
  for (const id of ["me", "admin", "forged"]) disable(id, !isIn || !tokens);
  if (claims) renderWho(claims, isCookie);
  renderChain(claims);
  renderToken($("access"), tokens?.access_token, ACCESS);
  if (isCookie && tokens) renderCookie($("refresh-token"));
  else renderToken($("refresh-token"), tokens?.refresh_token, REFRESH_TOKEN);
  renderState($("access-state"), "opens the API");
  renderState($("refresh-state"), isCookie ? "out of reach" : "opens /auth only");
  renderBanner(claims);
  renderThief(isIn, isCookie && isIn);
  tick();
}

function renderWho({ sub, roles, scope, sid, cnf }, isCookie) {
  $("name").textContent = sub;
  chip($("role"), "calm", roles.join(", "));
  const place = isCookie ? "HttpOnly cookie" : "localStorage";
  $("facts").replaceChildren(
    entry("scope", scope),
    entry("grant", short(sid)),
    entry("kept in", place),
    ...(cnf ? [entry("bound to", `key ${short(cnf.jkt)}`)] : []),
  );
}

function renderState(element, text) {
  if (!page.tokens) chip(element, "", "");
  else if (page.ended) chip(element, "bad", "ended");
  else chip(element, "good", text);
}

const ACCESS = {
  name: "access",
  signed: "anybody can check it, by the public key; nobody else can make one.",
};
const REFRESH_TOKEN = {
  name: "refresh",
  signed: "under a secret that the issuer keeps: no other service takes it.",
};

function renderToken(element, token, { name, signed }) {
  if (!token) {
    element.replaceChildren(make("p", "empty", `Log in, and the ${name} token is taken apart here.`));
    element.shown = null;
    return;
  }
  if (element.shown?.token === token) return;
  const { header, payload } = decode(token);
  const { alg, typ, kid } = header;
  const before = element.shown?.payload;
  element.shown = { token, payload };
  element.replaceChildren(
    part("header", members({ alg, typ, kid }, null, ["  ", "\n", ""])),
    part("payload", members(payload, before, [])),
    part("signature", make("p", "", make("b", "", alg), `: ${signed}`)),
    raw(token, name),
  );
}

function part(name, content) {
  const title = name[0].toUpperCase() + name.slice(1);
  return make("div", `part ${name}`, make("h3", "", title), content);
}

/** Name and value as JSON; what differs from the token before is marked for a moment. */
function members(found, before, separators) {
  const lines = make("pre");
  for (const [index, [name, value]] of Object.entries(found).entries()) {
    const text = JSON.stringify(value);
    const isFresh = before && JSON.stringify(before[name]) !== text;
    lines.append(make("span", isFresh ? "fresh" : "", make("b", "", name), ` ${text}`));
    if (TIMES.has(name)) lines.append(make("span", "note", `  ${clock(value * 1000)}`));
    lines.append(separators[index] ?? "\n");
  }
  return lines;
}

const TIMES = new Set(["iat", "exp", "auth_time"]);

function raw(token, name) {
  const [header, payload, signature] = token.split(".");
  const sent = make(
    "p",
    "raw",
    make("span", "header", header),
    ".",
    make("span", "payload", payload),
    ".",
    make("span", "signature", signature),
  );
  sent.tabIndex = 0; // it scrolls
  sent.setAttribute("role", "group");
  sent.setAttribute("aria-label", `The ${name} token as it is sent`);
  return sent;
}

function renderCookie(element) {
  if (element.shown === "cookie") return;
  element.shown = "cookie";
  const text = "In a cookie that no script can read, under a name of this login: there is nothing ";
  const cookie = "demo_refresh-…=…; Max-Age=600; Path=/; HttpOnly; SameSite=Strict";
  element.replaceChildren(
    make("p", "empty", `${text}to show here, and nothing to steal.`, make("code", "", cookie)),
  );
}

function renderChain(claims) {
  const told = page.events
    .filter(({ grants }) => claims && grants.includes(claims.sid))
    .map(({ generation }) => generation ?? 1);
  const yours = generationOf(page.tokens?.refresh_token);
  const stolen = generationOf(page.thief?.refresh);
  const newest = Math.max(1, yours ?? 1, stolen ?? 1, ...told);
  const steps = [];
  for (let step = Math.max(1, newest - STEPS + 1); step <= newest; step += 1) {
    const item = make("li", step === newest ? "now" : "", make("b", "", `${step}`));
    if (step === yours) item.append(make("span", "", "you"));
    if (step === stolen) item.append(make("span", "thief-mark", "thief"));
    steps.push(item);
  }
  $("chain").replaceChildren(...steps);
  $("holders").textContent = holders(yours, stolen, Boolean(claims?.cnf));
}

function holders(yours, stolen, isBound) {
  if (page.ended) return "None of these tokens opens anything any more.";
  if (isBound) return "Bound to a key of this browser: it isn't rotated, and a copy buys nothing.";
  if (stolen === null) return "Each rotation begins a new one. The server keeps one row for all.";
  if (yours === stolen) return "You and the thief hold the same one. Who refreshes first goes ahead.";
  const behind = yours < stolen ? "your" : "the thief's";
  return `Two hold tokens, and only one line can go on: ${behind} next refresh gives it away.`;
}

const ENDS = {
  reuse: ["Reuse found", "Two held tokens of this login, and one is a thief: it ended for both."],
  logout: ["Logged out", "The grant has ended, and its access token is refused at once, too."],
  elsewhere: ["Logged out in another tab", "All tabs share one token store."],
  invalid_grant: ["The server ended this login", "The refresh token buys nothing any more."],
  no_cookie: ["The cookie is gone", "The browser has thrown it away, and with it the login."],
};

function renderBanner(claims) {
  const banner = $("banner");
  const wasFound = ({ title, grants }) => title === "Reuse found" && grants.includes(claims?.sid);
  const isReuse = page.ended !== "logout" && page.events.some(wasFound);
  const found = ENDS[isReuse && page.ended ? "reuse" : page.ended];
  if (!found) {
    banner.replaceChildren();
    return;
  }
  const [title, text] = found;
  if (banner.dataset.title === title && banner.childElementCount) return;
  banner.dataset.title = title;
  banner.className = `banner ${isReuse ? "bad" : "calm"}`;
  const again = make("button", "", "Log in again");
  again.addEventListener("click", begin);
  banner.replaceChildren(make("strong", "", title), make("span", "", text), again);
}

function renderThief(isIn, isCookie) {
  const { thief } = page;
  const isStopped = thief === null || STOPPED.has(thief.status);
  $("thief").classList.toggle("active", !isStopped);
  disable("steal", !isIn || isCookie || !page.tokens);
  $("steal").hidden = thief !== null;
  $("thief-next").hidden = isStopped;
  $("thief-refresh").hidden = isStopped && thief?.status !== "keyless";
  const idle = isCookie ? "blind" : isIn && client.isBound ? "bound" : "idle";
  const [tone, state, text] = THIEF[thief?.status ?? idle](thief);
  chip($("thief-state"), tone, state);
  $("thief-text").textContent = text;
}

const times = (count) => (count === 1 ? "once" : `${count} times`);
const THIEF = {
  idle: () => [
    "",
    "no copy",
    "Take a copy of the refresh token, as a script that got into the page could. Then both go on.",
  ],
  bound: () => [
    "",
    "no copy",
    "Take a copy of both tokens, as a script that got into the page could. The key it can't take.",
  ],
  blind: () => [
    "",
    "no copy",
    "No script can read the cookie. Log in with localStorage to see what happens otherwise.",
  ],
  waits: () => ["warning", "has a copy", "Has a copy of your refresh token, and waits a moment."],
  inside: ({ refreshes }) => [
    "bad",
    "inside",
    `Refreshed ${times(refreshes)} and reads ${ME} as you. Nobody has noticed yet.`,
  ],
  keyless: ({ tries }) => [
    "good",
    "no key",
    `Tried ${times(tries)}. Without the key the refresh token buys nothing, the access token opens ` +
      "nothing, and you stay in.",
  ],
  out: ({ refreshes }) => [
    "good",
    "out",
    `Refreshed ${times(refreshes)}, then the grant ended. The refresh token buys nothing, and the ` +
      "access token is refused although it hasn't expired.",
  ],
};

function renderRequests() {
  $("requests").replaceChildren(...page.requests.map(requestLine));
}

function requestLine({ who, what, at, status, challenge, note }) {
  const tone = status < 300 && !note ? "good" : status < 500 ? "warning" : "bad";
  const line = make(
    "div",
    "line",
    make("time", "", clock(at)),
    make("span", who === "thief" ? "tag thief-mark" : "tag", who),
    make("span", "what", what),
    make("span", `pill ${tone}`, `${status}`),
  );
  if (note) line.append(make("span", "note", note.replaceAll("_", "_\u200b")));
  const item = make("li", "", line);
  if (challenge) item.append(make("code", "more", challenge));
  return item;
}

function renderEvents(events, isFirst) {
  const list = $("events");
  // What was there before the page is nothing new, and isn't read out.
  if (isFirst) list.parentElement.setAttribute("aria-live", "off");
  list.prepend(...events.map(eventLine).reverse());
  if (isFirst) setTimeout(() => list.parentElement.removeAttribute("aria-live"), POLL);
  while (list.childElementCount > EVENTS) list.lastChild.remove();
}

function eventLine({ tone, title, text, at, grants }) {
  const line = make("div", "line", make("span", `pill ${tone}`, title));
  for (const id of grants.slice(0, 2)) line.append(make("span", "tag", short(id)));
  line.append(make("time", "", clock(at * 1000)));
  return make("li", "", line, make("p", "more", text));
}

function renderLimits() {
  const { access_lifetime, settle, idle, absolute } = page.limits;
  $("limits").replaceChildren(
    entry("access token", span(access_lifetime)),
    entry("settle", span(settle)),
    entry("idle", span(idle)),
    entry("at most", span(absolute)),
  );
}

/** What moves by itself. */
function tick() {
  const { thief, tokens, ended } = page;
  if (thief) {
    const wait = Math.max(0, Math.ceil((thief.nextAt - Date.now()) / 1000));
    $("thief-next").textContent = `Refreshes again in ${wait} s.`;
  }
  if (!tokens) return;
  const { received_at, expires_at } = tokens;
  const left = ended ? 0 : Math.max(0, expires_at - Date.now());
  const share = left / (expires_at - received_at);
  $("arc").style.strokeDashoffset = `${100 - 100 * share}`;
  $("mark").style.rotate = `${360 * AHEAD}deg`;
  $("mark").style.visibility = client.keepFresh && !ended ? "visible" : "hidden";
  $("ring").classList.toggle("late", share <= AHEAD);
  $("ring").classList.toggle("over", left === 0);
  const over = ended ? "ended" : "expired";
  $("left").textContent = left ? `${Math.ceil(left / 1000)} s` : over;
  $("unit").textContent = left ? "left" : "";
}

// --- what happens

function begin() {
  forgetThief();
  page.tokens = page.ended = null;
  say("Log in to begin.");
  render();
  $("login").elements.name.focus();
}

for (const one of Object.values(clients)) {
  one.addEventListener("login", ({ detail }) => {
    client = one;
    forgetThief();
    page.tokens = page.ended = null;
    say(detail.elsewhere ? "Another tab logged in." : "Logged in. Watch the access token run out.");
    render();
    // In cookie mode each tab gets an access token of its own.
    if (!one.tokens) refresh();
  });
  one.addEventListener("refresh", ({ detail }) => {
    say(detail.elsewhere ? "Another tab has refreshed, for all." : "Refreshed. You saw nothing of it.");
    render();
  });
  one.addEventListener("retry", ({ detail }) => {
    const wait = (detail.delay / 1000).toFixed(1);
    say(`No answer. The same refresh token goes out again in ${wait} s.`);
  });
  one.addEventListener("unstored", () => {
    say("The browser's storage is blocked or full: this login ends with this page.");
  });
  one.addEventListener("logout", async ({ detail }) => {
    const hadFocus = $("actions").contains(document.activeElement);
    page.ended = "pending";
    render();
    await look(); // it says why
    page.ended = detail.reason;
    render();
    if (hadFocus) $("banner").querySelector("button").focus();
  });
}

function refresh() {
  return client.refresh().catch(() => say("The server can't be reached. You stay logged in."));
}

function on(id, act) {
  $(id).addEventListener("click", () => {
    if (!$(id).hasAttribute("aria-disabled")) act();
  });
}

on("refresh", refresh);
on("lose", () => {
  page.losesNext = true;
  refresh();
});
on("tab", () => window.open(location.href, "_blank", "noopener"));
on("logout", () => client.logout().catch(() => say("The server did not hear of it.")));
on("everywhere", async () => {
  const answer = await call("/api/logout-everywhere", { method: "POST" });
  // The grants have ended; this clears what the browser still holds.
  if (answer?.ok) client.logout().catch(() => {});
});
on("me", () => call(ME));
on("admin", () => call("/api/admin"));
on("forged", async () => {
  const headers = { Authorization: `Bearer ${forge(client.tokens.access_token)}` };
  await send("you", ME, { headers });
  say("A letter of the payload was changed, and the signature doesn't fit any more.");
});
on("bare", async () => {
  await send("you", ME);
  say("Without a token: the answer says what is needed, and no error code.");
});
on("steal", steal);
on("thief-refresh", actAsThief);

$("silent").addEventListener("change", ({ target }) => {
  for (const one of Object.values(clients)) {
    one.ahead = target.checked ? AHEAD : null;
    one.keepFresh = target.checked;
  }
  say(
    target.checked
      ? "The access token is replaced ahead of its end."
      : "The access token runs out now. Call the API then: refused, refreshed, repeated.",
  );
  tick();
});

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, role, keeps, key } = Object.fromEntries(new FormData(event.target));
  clients[keeps].key = key;
  let answer;
  try {
    answer = await clients[keeps].login("/login", { name, role, keeps });
  } catch (error) {
    const isKeyless = error instanceof NoKey;
    say(isKeyless ? "Browsers have keys only at localhost and over https." : "Nothing was answered.");
    return;
  }
  if (answer.ok) $("refresh").focus();
  else say("This name can't be used.");
});

render();
if (client.isLoggedIn && !client.tokens) refresh();
setInterval(tick, 250);
watch();
