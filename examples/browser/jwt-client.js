/**
 * A browser's side of access and refresh tokens: one ES module, no dependencies.
 *
 *     import { JWTClient } from "./jwt-client.js";
 *
 *     const client = new JWTClient();                   // mode "header", the page's own origin
 *     client.addEventListener("logout", (event) => showLogin(event.detail.reason));
 *     await client.login("/login", { name, password });
 *     const answer = await client.fetch("/api/me");     // fetch, with the access token
 *     await client.logout();
 *
 * What it takes care of:
 *
 * - One refresh at a time, across all tabs, by Web Locks. Who waited for the lock looks again: when
 *   another tab was faster, its tokens are used and nothing is sent.
 * - A lost answer (no network, a time-out, a 5xx) is asked for again with the same refresh token.
 *   The server tells such a repetition from a theft: a bad connection logs nobody out.
 * - An access token is replaced ahead of its end, and when the server refuses it: the call is then
 *   repeated once.
 * - One token store. A tab never goes on with a copy of its own: two holders of one refresh token
 *   are what a theft looks like, and would end the login.
 *
 * Where the tokens are, and what a script that gets into your page (XSS) can do:
 *
 * - mode "header": both tokens in localStorage, which all tabs share. Such a script can read them,
 *   send them away, and go on elsewhere until the reuse is found or the login ends.
 * - mode "cookie" (`Refresh(cookies=Cookies())` on the server): the refresh token in a cookie that
 *   no script can read, the access token in a variable of this tab. Such a script can act while the
 *   page is open, and can take away an access token, which ends within minutes. This is safer:
 *   prefer it where page and service are on the same site.
 *
 * In neither mode does this replace a Content-Security-Policy.
 */

const PAUSE = 30_000; // milliseconds after a refresh that failed, before the next without need
const LONGEST = 2 ** 31 - 1; // milliseconds that a timer can wait

/** The answer to a refresh or a logout was a refusal that says nothing about the login itself. */
export class Refused extends Error {
  constructor(status, code) {
    super(`refused: ${status} ${code ?? ""}`.trimEnd());
    this.name = "Refused";
    this.status = status;
    this.code = code;
  }
}

/** The server could not be reached, however often it was tried. Nobody is logged out by that. */
export class Unreachable extends Error {
  constructor(cause) {
    super("the server can't be reached", { cause });
    this.name = "Unreachable";
  }
}

/**
 * Events, each a CustomEvent with a `detail`:
 *
 * - "login" {elsewhere}: somebody logged in, here or in another tab.
 * - "refresh" {elsewhere}: there are new tokens, fetched here or by another tab.
 * - "retry" {attempt, delay, cause}: no answer; the same is sent again after `delay` milliseconds.
 * - "logout" {reason}: "logout" here, "elsewhere" in another tab, or "invalid_grant": the server
 *   ended the login (it was revoked, it expired, or a reuse was found).
 */
export class JWTClient extends EventTarget {
  #api;
  #mode;
  #paths;
  #header;
  #delays;
  #timeout;
  #fetch;
  #lock;
  #store;
  #refreshing = null;
  #timer = null;
  #ahead;
  #keepFresh = false;

  /**
   * @param {object} [options]
   * @param {string} [options.api] URL of the service; no token is ever sent to another origin.
   * @param {"header"|"cookie"} [options.mode] where the refresh token is; see above.
   * @param {string} [options.name] names the store and the lock: one for each login of a page.
   * @param {string} [options.refreshPath] as `Refresh(path=...)` says, and "/refresh".
   * @param {string} [options.revokePath] the same, and "/revoke".
   * @param {string} [options.header] the one of `Cookies(header=...)`.
   * @param {number|null} [options.ahead] when to replace an access token, as a share of its life:
   *   0.2 is in its last fifth. null: only when the server refuses it.
   * @param {boolean} [options.keepFresh] replace it then even when nobody asks for anything. This
   *   keeps a login alive for as long as the page is open, so that the idle limit never comes.
   * @param {number[]} [options.delays] milliseconds before the second, third ... try.
   * @param {number} [options.timeout] milliseconds after which an answer counts as lost.
   * @param {typeof fetch} [options.fetch] for tests.
   */
  constructor({
    api = globalThis.location.href,
    mode = "header",
    name = "jwt",
    refreshPath = "/auth/refresh",
    revokePath = "/auth/revoke",
    header = "X-Requested-With",
    ahead = 0.2,
    keepFresh = false,
    delays = [500, 1500, 4000],
    timeout = 10_000,
    fetch = (...args) => globalThis.fetch(...args),
  } = {}) {
    super();
    this.#api = new URL(api);
    this.#mode = mode;
    this.#paths = { refresh: refreshPath, revoke: revokePath };
    this.#header = header;
    this.#ahead = ahead;
    this.#delays = delays;
    this.#timeout = timeout;
    this.#fetch = fetch;
    this.#lock = `${name}:refresh`;
    this.#store = mode === "cookie" ? new TabStore(name) : new SharedStore(name);
    this.#store.onChange = (before, after) => this.#changedElsewhere(before, after);
    this.keepFresh = keepFresh;
  }

  get mode() {
    return this.#mode;
  }

  /** Whether somebody is logged in, as far as this browser knows. */
  get isLoggedIn() {
    return this.#store.login !== null;
  }

  /** What there is: {access_token, refresh_token, scope, received_at, expires_at}, or null. */
  get tokens() {
    return this.#store.read();
  }

  get ahead() {
    return this.#ahead;
  }

  set ahead(share) {
    this.#ahead = share;
    this.#schedule();
  }

  get keepFresh() {
    return this.#keepFresh;
  }

  set keepFresh(keep) {
    this.#keepFresh = keep;
    this.#schedule();
  }

  /** Send a login to the application, and keep the tokens that it answers with. */
  async login(path, credentials) {
    const sentAt = Date.now();
    const answer = await this.#fetch(new URL(path, this.#api), {
      ...this.#options(),
      method: "POST",
      headers: { "Content-Type": "application/json", [this.#header]: "jwt-client" },
      body: JSON.stringify(credentials),
    });
    if (answer.ok) this.adopt(await answer.clone().json(), sentAt);
    return answer;
  }

  /** Keep the tokens of a login that was made in another way: the members of RFC 6749 s5.1. */
  adopt(members, sentAt = Date.now()) {
    this.#store.write(held(members, randomName(), sentAt));
    this.#schedule();
    this.#emit("login", { elsewhere: false });
  }

  /**
   * Do what fetch does, with the access token. The token is replaced first when it is old, and
   * afterwards when it was refused; then the call is repeated, once.
   */
  async fetch(input, init) {
    const url = input instanceof Request ? input : new URL(input, this.#api);
    const request = new Request(url, init);
    if (new URL(request.url).origin !== this.#api.origin) {
      throw new TypeError(`tokens are for ${this.#api.origin}, not for ${request.url}`);
    }
    let tokens = this.tokens;
    if (this.isLoggedIn && (!tokens || this.#isOld(tokens))) tokens = await this.#freshOr(tokens);
    const answer = await this.#send(request.clone(), tokens);
    if (!tokens || !isInvalidToken(answer)) return answer;
    const fresh = await this.refresh(tokens);
    return fresh ? this.#send(request, fresh) : answer;
  }

  /**
   * Replace the tokens, unless somebody has replaced `seen` already. Returns what there is now,
   * null when nobody is logged in any more. Throws Unreachable or Refused: nothing changed then.
   */
  refresh(seen = this.tokens) {
    // One at a time in this tab by the promise, across tabs by the lock. Browsers without Web
    // Locks, and pages that came over plain http, do without: the server serves both tabs.
    this.#refreshing ??= this.#alone(() => this.#exchange(seen))
      .finally(() => {
        this.#refreshing = null;
      })
      .then(
        (tokens) => {
          this.#schedule();
          return tokens;
        },
        (error) => {
          this.#schedule(PAUSE);
          throw error;
        },
      );
    return this.#refreshing;
  }

  /**
   * End the login: here at once, then on the server. Throws Unreachable when the server did not
   * hear of it. In cookie mode the cookie is still there then, and the user must be told.
   */
  async logout() {
    if (!this.isLoggedIn && this.#mode !== "cookie") return;
    const token = this.tokens?.refresh_token;
    this.#forget("logout");
    const answer = await this.#persistently(() => this.#post(this.#paths.revoke, { token }));
    if (!answer.ok) throw new Refused(answer.status, answer.body?.error);
  }

  // --- inside

  async #exchange(seen) {
    const login = this.#store.login;
    const isStill = () =>
      login !== null && this.#store.login === login && this.tokens?.stamp === seen?.stamp;
    const answer = await this.#persistently(async () => {
      // Looked at inside the lock, and before every try: the store is what all tabs share.
      if (!isStill()) return null;
      const members = { grant_type: "refresh_token", refresh_token: seen?.refresh_token };
      const found = await this.#post(this.#paths.refresh, members);
      // A captive portal, say: it speaks for the server, and knows nothing.
      if (found.ok && typeof found.body?.expires_in !== "number") throw new Error("no tokens");
      return found;
    });
    // Somebody logged out, or in anew, while this was on its way.
    if (!answer || !isStill()) return this.tokens;
    if (answer.ok) {
      // RFC 6749 s6: a new refresh token may come. Where none does, the one that was sent stays good.
      const members = { refresh_token: seen?.refresh_token, ...answer.body };
      this.#store.write(held(members, login, answer.sentAt));
      this.#emit("refresh", { elsewhere: false });
      return this.tokens;
    }
    // Without a cookie the request has no token at all: the browser has thrown the cookie away.
    const isOver = answer.body?.error === "invalid_grant" || this.#mode === "cookie";
    if (answer.status !== 400 || !isOver) throw new Refused(answer.status, answer.body?.error);
    this.#forget("invalid_grant");
    return null;
  }

  /** Send until there is an answer. `send` returns null where there is nothing to send any more. */
  async #persistently(send) {
    for (let attempt = 1; ; attempt += 1) {
      let cause;
      try {
        const answer = await send();
        if (!answer || (answer.status < 500 && answer.status !== 429)) return answer;
        cause = new Error(`status ${answer.status}`);
      } catch (error) {
        cause = error;
      }
      if (attempt > this.#delays.length) throw new Unreachable(cause);
      // Spread, so that all browsers don't come back in step after a failure of the server.
      const delay = Math.round(this.#delays[attempt - 1] * (0.75 + Math.random() / 2));
      this.#emit("retry", { attempt, delay, cause });
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }

  async #post(path, members) {
    const body = new URLSearchParams();
    for (const [name, value] of Object.entries(members)) if (value) body.set(name, value);
    const sentAt = Date.now();
    const answer = await this.#fetch(new URL(path, this.#api), {
      ...this.#options(),
      method: "POST",
      headers: { [this.#header]: "jwt-client" },
      body,
      keepalive: true, // a page that is being closed still logs out
      signal: AbortSignal.timeout(this.#timeout),
    });
    const text = await answer.text(); // here, because an answer can get lost halfway, too
    const isJSON = answer.headers.get("Content-Type")?.startsWith("application/json");
    const { status, ok } = answer;
    return { status, ok, sentAt, body: isJSON ? JSON.parse(text) : null };
  }

  #options() {
    return { credentials: this.#mode === "cookie" ? "include" : "omit", cache: "no-store" };
  }

  #send(request, tokens) {
    const headers = new Headers(request.headers);
    if (tokens?.access_token) headers.set("Authorization", `Bearer ${tokens.access_token}`);
    if (this.#mode !== "cookie") return this.#fetch(new Request(request, { headers }));
    headers.set(this.#header, "jwt-client");
    return this.#fetch(new Request(request, { headers, credentials: "include" }));
  }

  async #freshOr(tokens) {
    try {
      return await this.refresh(tokens);
    } catch (error) {
      // Ahead of its end the old token still serves.
      if (tokens && Date.now() < tokens.expires_at) return tokens;
      throw error;
    }
  }

  #alone(work) {
    const locks = globalThis.navigator?.locks;
    return locks ? locks.request(this.#lock, work) : work();
  }

  #dueAt({ received_at, expires_at }) {
    return expires_at - (expires_at - received_at) * this.#ahead;
  }

  #isOld(tokens) {
    return this.#ahead !== null && Date.now() >= this.#dueAt(tokens);
  }

  #schedule(least = 1000) {
    clearTimeout(this.#timer);
    const tokens = this.tokens;
    if (!this.#keepFresh || this.#ahead === null || !this.isLoggedIn) return;
    const wait = tokens ? this.#dueAt(tokens) - Date.now() : 0;
    // A failure isn't the end, because `refresh` schedules again; but it must not spin.
    const again = () => this.refresh(tokens).catch(() => {});
    this.#timer = setTimeout(again, Math.min(Math.max(wait, least), LONGEST));
  }

  #forget(reason) {
    this.#store.write(null);
    this.#schedule();
    this.#emit("logout", { reason });
  }

  #changedElsewhere(before, after) {
    this.#schedule();
    if (after === null) this.#emit("logout", { reason: "elsewhere" });
    else this.#emit(before === after ? "refresh" : "login", { elsewhere: true });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Header mode: one entry of localStorage is the store of all tabs. */
class SharedStore {
  onChange = () => {};

  constructor(name) {
    this.key = name;
    globalThis.addEventListener("storage", ({ key, oldValue, newValue, storageArea }) => {
      if (storageArea !== localStorage || (key !== name && key !== null)) return;
      const [before, after] = [parse(oldValue)?.login ?? null, parse(newValue)?.login ?? null];
      if (before !== null || after !== null) this.onChange(before, after);
    });
  }

  get login() {
    return this.read()?.login ?? null;
  }

  read() {
    return parse(localStorage.getItem(this.key));
  }

  write(tokens) {
    if (tokens === null) localStorage.removeItem(this.key);
    else localStorage.setItem(this.key, JSON.stringify(tokens));
  }
}

/**
 * Cookie mode: the cookie is the store of all tabs, and the access token stays in this one. What
 * localStorage holds is only that somebody is logged in, which tells other tabs, and a new one.
 */
class TabStore {
  onChange = () => {};
  #tokens = null;

  constructor(name) {
    this.key = `${name}:login`;
    globalThis.addEventListener("storage", ({ key, oldValue, newValue, storageArea }) => {
      if (storageArea !== localStorage || (key !== this.key && key !== null)) return;
      this.onChange(oldValue, newValue);
    });
  }

  get login() {
    return localStorage.getItem(this.key);
  }

  read() {
    // Of another login than the present one, it is nobody's.
    if (this.#tokens?.login !== this.login) this.#tokens = null;
    return this.#tokens;
  }

  write(tokens) {
    this.#tokens = tokens;
    if (tokens === null) localStorage.removeItem(this.key);
    // Written anew, the same value causes no event in other tabs.
    else localStorage.setItem(this.key, tokens.login);
  }
}

/** Return what is kept of a token response. Its time counts from when it was asked for. */
function held(members, login, sentAt) {
  const { access_token, refresh_token, scope, expires_in } = members;
  const expires_at = sentAt + expires_in * 1000;
  const stamp = randomName();
  return { login, stamp, access_token, refresh_token, scope, received_at: sentAt, expires_at };
}

function isInvalidToken(answer) {
  // RFC 6750 s3.1. From another origin it is readable where `Settings(origins=...)` names this one.
  const challenge = answer.headers.get("WWW-Authenticate") ?? "";
  return answer.status === 401 && challenge.includes('error="invalid_token"');
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // something else wrote there
  }
}

function randomName() {
  // Not crypto.randomUUID, which pages that came over plain http don't have.
  return [...crypto.getRandomValues(new Uint32Array(2))].map((part) => part.toString(36)).join("");
}
