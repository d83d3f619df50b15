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
 * - One login, refresh or log-out at a time, across all tabs, by Web Locks. A tab that waited for
 *   the lock looks again: when another tab was faster, its tokens are used and nothing is sent.
 * - An answer changes only the login that its request was about. One that comes late, when somebody
 *   has logged in or out since, is not used; a log-out names the login that it ends.
 * - A lost answer (no network, a time-out, a 5xx) is asked for again with the same refresh token.
 *   The server tells such a repetition from a theft: a bad connection logs nobody out.
 * - An access token is replaced ahead of its end, beside the calls, which don't wait for it; and
 *   when the server refuses it: the call is then repeated once.
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
 *
 * With `key: "required"` or "optional" (`Settings(proofs=Proofs())` on the server) each login is
 * bound to a key of its own, which this browser makes: scripts can use it and not read it. A token
 * that was taken away opens nothing without it. While the page is open a script in it can use it.
 */

const PAUSE = 30_000; // milliseconds after a refresh that failed, before the next without need
const ELSEWHERE = 500; // milliseconds: another tab's writing is seen within 5, or late under load
const LONGEST = 2 ** 31 - 1; // milliseconds that a timer can wait

/** The answer to a refresh or a log-out was a refusal that says nothing about the login itself. */
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

/** Somebody else has logged in, in another tab say, since the call or the login was begun. */
export class LoginChanged extends Error {
  constructor() {
    super("there is another login now than the one that this was begun for");
    this.name = "LoginChanged";
  }
}

/** The browser doesn't send the login's cookie back. The login has been ended. */
export class CookiesBlocked extends Error {
  constructor() {
    super("the login's cookie doesn't come back: the page is in a frame of another site, say");
    this.name = "CookiesBlocked";
  }
}

/** There is no key to prove: the page came over plain http, say, or IndexedDB doesn't open. */
export class NoKey extends Error {
  constructor(cause) {
    super("this browser has no key that the login could be bound to", { cause });
    this.name = "NoKey";
  }
}

/**
 * Events, each a CustomEvent with a `detail`:
 *
 * - "login" {elsewhere}: somebody logged in, here or in another tab.
 * - "refresh" {elsewhere}: there are new tokens, fetched here or by another tab.
 * - "retry" {attempt, delay, cause}: no answer; the same is sent again after `delay` milliseconds.
 * - "logout" {reason}: "logout" here, "elsewhere" in another tab, "invalid_grant": the server ended
 *   the login (it was revoked, it expired, or a reuse was found), or "no_cookie": the browser has
 *   thrown the cookie away.
 * - "unstored" {cause}: the browser's storage is blocked or full. The login is good in this page
 *   only, and gone when the page is.
 * - "unbound" {cause}: with `key: "optional"`, there is no key; the login goes on without one.
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
  #lockTimeout;
  #store;
  #prover;
  #told; // the login and the stamp that the page has heard of, by an event
  #unheard = null; // the log-out that the server has not answered
  #refreshing = null; // {login, tokens}: one at a time, and the promise of what comes of it
  #pausedUntil = 0;
  #timer = null;
  #ahead;
  #keepFresh = false;

  /** "none", "optional" or "required", see the constructor: how the next login is made. */
  key;

  /**
   * @param {object} [options]
   * @param {string} [options.api] URL of the service; no token is ever sent to another origin.
   * @param {"header"|"cookie"} [options.mode] where the refresh token is; see above.
   * @param {"none"|"optional"|"required"} [options.key] whether a login is bound to a key. Where
   *   the browser can have none, "optional" logs in without, and "required" throws NoKey.
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
   * @param {number} [options.lockTimeout] milliseconds to wait for another tab. Then it is done
   *   without the lock: the server serves both.
   * @param {typeof fetch} [options.fetch] for tests.
   */
  constructor({
    api = globalThis.location.href,
    mode = "header",
    key = "none",
    name = "jwt",
    refreshPath = "/auth/refresh",
    revokePath = "/auth/revoke",
    header = "X-Requested-With",
    ahead = 0.2,
    keepFresh = false,
    delays = [500, 1500, 4000],
    timeout = 10_000,
    lockTimeout = 5000,
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
    this.#lockTimeout = lockTimeout;
    this.#store = mode === "cookie" ? new TabStore(`${name}:login`) : new SharedStore(name);
    this.#store.onChange = () => this.#compare();
    this.#prover = new Prover(name);
    this.key = key;
    this.#told = this.#present();
    // A page that comes back got no events while it was away.
    globalThis.addEventListener("pageshow", ({ persisted }) => persisted && this.#compare());
    this.keepFresh = keepFresh;
  }

  get mode() {
    return this.#mode;
  }

  /** Whether somebody is logged in, as far as this browser knows. */
  get isLoggedIn() {
    return this.#store.login !== null;
  }

  /** Whether the login was made with a key, which this browser keeps. */
  get isBound() {
    return this.isLoggedIn && this.#prover.isBound(this.#store.login);
  }

  /**
   * The tokens, or null: {access_token, token_type, refresh_token, scope, received_at,
   * expires_at}.
   */
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

  /**
   * Send a login to the application, as JSON, or as it is if it is a URLSearchParams or FormData;
   * and keep the tokens that it answers with. Without them, after a first step of two say, the
   * answer changes nothing. Throws LoginChanged when somebody else has logged in since it was sent,
   * and CookiesBlocked; the login that was answered is ended then. Throws NoKey, and sends nothing,
   * where a key is required and there can be none.
   */
  login(path, credentials) {
    return this.#alone(async () => {
      const before = this.#store.login;
      const key = await this.#newKey();
      const sentAt = Date.now();
      const isForm = credentials instanceof URLSearchParams || credentials instanceof FormData;
      const init = {
        headers: isForm ? {} : { "Content-Type": "application/json" },
        body: isForm ? credentials : JSON.stringify(credentials),
      };
      const answer = await this.#ask(path, init, key);
      const members = answer.ok ? parse(await answer.clone().text()) : null;
      if (!this.#isLogin(members)) return answer;
      if (!(await this.#getsCookie(key))) return this.#discard(members, new CookiesBlocked());
      const cause = key && (await this.#prover.store(key));
      const isOvertaken = ![null, before].includes(this.#store.login);
      if (isOvertaken) return this.#discard(members, new LoginChanged(), key);
      this.#begin(members, sentAt, key);
      if (cause) this.#emit("unstored", { cause });
      return answer;
    });
  }

  /** Keep the tokens of a login that was made in another way: the members of RFC 6749 s5.1. */
  adopt(members, sentAt = Date.now()) {
    if (!this.#isLogin(members)) {
      const needed = this.#mode === "cookie" ? "sid" : "access_token";
      throw new TypeError(`a login needs the members token_type, expires_in and ${needed}`);
    }
    this.#begin(members, sentAt, null);
  }

  /**
   * Do what fetch does, with the access token. A token that has expired is replaced first, and one
   * that was refused afterwards; then the call is repeated, once. Throws LoginChanged, and sends
   * nothing, when it had to wait and somebody else has logged in meanwhile.
   */
  async fetch(input, init) {
    const url = input instanceof Request ? input : new URL(input, this.#api);
    const request = new Request(url, init);
    if (new URL(request.url).origin !== this.#api.origin) {
      throw new TypeError(`tokens are for ${this.#api.origin}, not for ${request.url}`);
    }
    const login = this.#store.login;
    let tokens = this.tokens;
    if (login !== null && this.#isOver(tokens)) {
      tokens = await unlessAborted(request.signal, this.refresh(tokens));
      if (![null, login].includes(this.#store.login)) throw new LoginChanged();
    } else if (login !== null && this.#isDue(tokens)) {
      this.refresh(tokens).catch(() => {}); // beside the call, which still has a good token
    }
    const answer = await this.#send(request.clone(), tokens);
    if (!tokens || !isInvalidToken(answer)) return answer;
    const fresh = await unlessAborted(request.signal, this.refresh(tokens));
    return fresh?.login === login ? this.#send(request, fresh) : answer;
  }

  /**
   * Replace the tokens, unless somebody has replaced `seen` already. Returns what there is now,
   * null when nobody is logged in any more. Throws Unreachable or Refused: nothing changed then.
   */
  refresh(seen = this.tokens) {
    // One at a time in this tab by the promise, across tabs by the lock. Browsers without Web
    // Locks, and pages that came over plain http, have no lock: the server serves both tabs.
    const login = this.#store.login;
    if (this.#refreshing?.login === login) return this.#refreshing.tokens;
    const tokens = this.#alone(() => this.#exchange(login, seen))
      .then(
        (found) => {
          this.#pausedUntil = 0;
          return found;
        },
        (error) => {
          this.#pausedUntil = Date.now() + PAUSE;
          throw error;
        },
      )
      .finally(() => {
        if (this.#refreshing?.tokens === tokens) this.#refreshing = null;
        this.#schedule();
      });
    this.#refreshing = { login, tokens };
    return tokens;
  }

  /**
   * End the login: here at once, then on the server. Throws Unreachable when the server did not
   * hear of it; called again, it says the same again. In cookie mode the cookie is still there
   * then, and the user must be told.
   */
  async logout() {
    if (this.isLoggedIn) this.#unheard = this.#nameOf(this.tokens, this.#store.login);
    const named = this.#unheard;
    if (!named && this.#mode !== "cookie") return;
    this.#forget("logout");
    // Without a name it ends every login whose cookie goes along. A repetition would bring the
    // cookies of that time, of a new login too: it is sent once.
    const tries = named ? undefined : 1;
    const revoke = () => this.#post(this.#paths.revoke, named ?? {});
    const answer = await this.#alone(() => this.#persistently(revoke, tries));
    if (!answer.ok) throw new Refused(answer.status, answer.body?.error);
    if (this.#unheard === named) this.#unheard = null;
  }

  // --- inside

  #begin(members, sentAt, key) {
    // In cookie mode all tabs share the cookie, so they name a login by its grant (`sid`).
    const login = members.sid ?? randomName();
    this.#prover.begin(login, key); // first, so that no tab sees a bound login without its key
    this.#keep(held(members, login, sentAt));
    this.#emit("login", { elsewhere: false });
  }

  /** Return a key for a login, or null: it isn't to be bound, or can't be and needn't. */
  async #newKey() {
    if (this.key === "none") return null;
    try {
      return await this.#prover.make();
    } catch (cause) {
      if (this.key === "required") throw new NoKey(cause);
      this.#emit("unbound", { cause });
      return null;
    }
  }

  async #exchange(login, seen) {
    const isStill = () =>
      login !== null && this.#store.login === login && this.tokens?.stamp === seen?.stamp;
    const answer = await this.#persistently(async () => {
      const key = await this.#prover.keyOf(login);
      // Looked at inside the lock, and before every try: the store is what all tabs share.
      if (!isStill()) return null;
      const members = { grant_type: "refresh_token", refresh_token: seen?.refresh_token };
      const found = await this.#post(this.#paths.refresh, members, key);
      // The answer isn't the server's: a captive portal may answer in its place.
      if (found.ok && !this.#isLogin(found.body)) throw new Error("no tokens");
      return found;
    });
    if (answer?.ok && this.#mode === "cookie") return this.#keepByName(login, answer);
    // The user logged out, or in anew, while this was on its way.
    if (!answer || !isStill()) return this.tokens;
    if (answer.ok) {
      // RFC 6749 s6: a new refresh token may come. Where none does, or the one that was sent is
      // repeated, that one stays good.
      const members = { refresh_token: seen?.refresh_token, ...answer.body };
      this.#keep(held(members, login, answer.sentAt));
      this.#emit("refresh", { elsewhere: false });
      return this.tokens;
    }
    const reason = this.#endIn(answer);
    if (!reason) throw new Refused(answer.status, answer.body?.error);
    // What another tab has just written arrives here a moment later: a new login stays.
    await new Promise((resolve) => setTimeout(resolve, ELSEWHERE));
    if (!isStill()) return this.tokens;
    this.#forget(reason);
    return null;
  }

  /** Cookie mode: the browser chose the cookie, and the answer says which login that was of. */
  #keepByName(login, { body, sentAt }) {
    const present = this.#store.login;
    const isNew = body.sid !== present;
    // A page that doesn't use this client has logged in, where the store still says `login`. Where
    // it says something else, somebody logged out, or in anew, while this was on its way.
    if (present === null || (isNew && present !== login)) return this.tokens;
    this.#keep(held(body, body.sid, sentAt));
    this.#emit(isNew ? "login" : "refresh", { elsewhere: isNew });
    return this.tokens;
  }

  /** Return why an answer ends the login, or null. Only the token endpoint answers like this. */
  #endIn({ status, body }) {
    if (status !== 400) return null;
    if (body?.error === "invalid_grant") return "invalid_grant";
    // In cookie mode the request is always the same, and well-formed but for a cookie that doesn't
    // come: the browser has thrown it away, so waiting for it would never end.
    return this.#mode === "cookie" && body?.error === "invalid_request" ? "no_cookie" : null;
  }

  /** Whether these are tokens, or say that cookies carry them. */
  #isLogin(members) {
    const { access_token, token_type, expires_in, sid } = members ?? {};
    // With `Cookies(access=True)` there is no access token in the answer, and `sid` in any case.
    const isNamed = typeof (this.#mode === "cookie" ? sid : access_token) === "string";
    return isNamed && typeof token_type === "string" && Number.isFinite(expires_in);
  }

  /** Return what a log-out names its login by, so that it ends no other. */
  #nameOf(tokens, login) {
    if (this.#mode === "cookie") return { sid: login };
    return { token: tokens?.refresh_token ?? tokens?.access_token };
  }

  /** End a login that was answered and is not adopted. */
  async #discard(members, error, key = null) {
    if (key) this.#prover.remove(key.id);
    // Where the cookie doesn't come, the access token names its grant.
    const { access_token: token } = members;
    const name = token ? { token } : this.#nameOf(members, members.sid);
    await this.#post(this.#paths.revoke, name).catch(() => {}); // it ends unused, else
    throw error;
  }

  /**
   * Ask whether the cookie of a login comes back. A frame of another site gets none of ours back,
   * and no script can see that (`document.hasStorageAccess` is about other cookies): a refresh can.
   */
  async #getsCookie(key) {
    if (this.#mode !== "cookie" || globalThis.self === globalThis.top) return true;
    try {
      const members = { grant_type: "refresh_token" };
      const answer = await this.#post(this.#paths.refresh, members, key);
      return this.#endIn(answer) === null;
    } catch {
      return true; // no answer says nothing
    }
  }

  /** Send until there is an answer. `send` returns null where there is nothing to send any more. */
  async #persistently(send, tries = this.#delays.length + 1) {
    for (let attempt = 1; ; attempt += 1) {
      let cause;
      try {
        const answer = await send();
        if (!answer || (answer.status < 500 && answer.status !== 429)) return answer;
        cause = new Error(`status ${answer.status}`);
      } catch (error) {
        cause = error;
      }
      if (attempt >= tries) throw new Unreachable(cause);
      // Spread, so that all browsers don't come back in step after a failure of the server.
      const delay = Math.round(this.#delays[attempt - 1] * (0.75 + Math.random() / 2));
      this.#emit("retry", { attempt, delay, cause });
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }

  async #post(path, members, key = null) {
    const body = new URLSearchParams();
    for (const [name, value] of Object.entries(members)) if (value) body.set(name, value);
    const sentAt = Date.now();
    const init = {
      body,
      keepalive: true, // a page that is being closed still logs out
      signal: AbortSignal.timeout(this.#timeout),
    };
    const answer = await this.#ask(path, init, key);
    const text = await answer.text(); // here, because an answer can get lost halfway, too
    const isJSON = answer.headers.get("Content-Type")?.startsWith("application/json");
    const { status, ok } = answer;
    return { status, ok, sentAt, body: isJSON ? JSON.parse(text) : null };
  }

  /** Send a password or a token. No redirect is followed: it could lead to another origin. */
  async #ask(path, { headers, ...init }, key) {
    const request = new Request(new URL(path, this.#api), {
      ...init,
      method: "POST",
      headers: { ...headers, [this.#header]: "jwt-client" },
      credentials: this.#mode === "cookie" ? "include" : "omit",
      cache: "no-store",
      redirect: "manual",
    });
    const answer = await this.#prover.send(request, key, this.#fetch);
    if (answer.type !== "opaqueredirect") return answer;
    throw new TypeError(`${path} is redirected, and neither a password nor a token follows`);
  }

  async #send(request, tokens) {
    const init = { headers: new Headers(request.headers) };
    const { access_token: token, token_type, login } = tokens ?? {};
    // RFC 9449 s7.1: a token that is bound itself has a scheme of its own, and a proof each time.
    const isProved = token && token_type?.toLowerCase() === "dpop";
    if (token) init.headers.set("Authorization", `${isProved ? "DPoP" : "Bearer"} ${token}`);
    if (this.#mode === "cookie") {
      init.headers.set(this.#header, "jwt-client");
      init.credentials = "include";
    }
    const key = isProved ? await this.#prover.keyOf(login) : null;
    return this.#prover.send(new Request(request, init), key, this.#fetch, token);
  }

  /**
   * Do it while no other tab does such a thing. It is done without the lock where the browser has
   * none, where another tab keeps it for too long, and when this page goes away: one that Chromium
   * puts into its back/forward cache would keep the lock, and others wait for it.
   */
  async #alone(work) {
    const locks = globalThis.navigator?.locks;
    let begun = null;
    const begin = () => (begun ??= work());
    if (!locks) return begin();
    const waiting = new AbortController();
    const timer = setTimeout(() => waiting.abort(), this.#lockTimeout);
    let leave;
    const left = new Promise((resolve) => {
      leave = () => {
        waiting.abort();
        resolve();
      };
    });
    globalThis.addEventListener("pagehide", leave);
    try {
      await locks.request(this.#lock, { signal: waiting.signal }, () => {
        clearTimeout(timer);
        return Promise.race([begin(), left]);
      });
    } catch {
      // Not granted; or the work has failed, and says so below.
    } finally {
      clearTimeout(timer);
      globalThis.removeEventListener("pagehide", leave);
    }
    return begin();
  }

  /** Return when the tokens are to be replaced. After a failure there is a pause, at least. */
  #dueAt({ received_at, expires_at }) {
    return Math.max(expires_at - (expires_at - received_at) * this.#ahead, this.#pausedUntil);
  }

  #isOver(tokens) {
    return tokens === null || (this.#ahead !== null && Date.now() >= tokens.expires_at);
  }

  #isDue(tokens) {
    return this.#ahead !== null && Date.now() >= this.#dueAt(tokens);
  }

  #schedule() {
    clearTimeout(this.#timer);
    const tokens = this.tokens;
    if (!this.#keepFresh || this.#ahead === null || !this.isLoggedIn) return;
    const wait = (tokens ? this.#dueAt(tokens) : this.#pausedUntil) - Date.now();
    // After a failure `refresh` schedules again, with a pause: it must not loop without one.
    const again = () => this.refresh(tokens).catch(() => {});
    this.#timer = setTimeout(again, Math.min(Math.max(wait, 1000), LONGEST));
  }

  #forget(reason) {
    this.#keep(null);
    this.#prover.end();
    this.#emit("logout", { reason });
  }

  #keep(tokens) {
    const cause = this.#store.write(tokens);
    this.#told = this.#present();
    this.#schedule();
    if (cause) this.#emit("unstored", { cause });
  }

  #present() {
    return { login: this.#store.login, stamp: this.tokens?.stamp };
  }

  /** Tell what other tabs have changed since the page last heard of it. */
  #compare() {
    const before = this.#told;
    const now = (this.#told = this.#present());
    this.#schedule();
    if (now.login !== before.login) {
      if (now.login === null) this.#emit("logout", { reason: "elsewhere" });
      else this.#emit("login", { elsewhere: true });
    } else if (now.stamp !== before.stamp) this.#emit("refresh", { elsewhere: true });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** One text in localStorage, for all tabs; or, where that is blocked or full, in this page. */
class Entry {
  onChange = () => {};
  #key;
  #own = null; // what localStorage did not take

  constructor(key) {
    this.#key = key;
    globalThis.addEventListener("storage", (event) => {
      const isOurs = event.key === key || event.key === null; // null: all of it was cleared
      if (isOurs && event.storageArea === attempt(() => localStorage)) this.onChange();
    });
  }

  get text() {
    return this.#own ?? attempt(() => localStorage.getItem(this.#key));
  }

  /** Returns null, or the error by which localStorage did not take the text. */
  put(text) {
    this.#own = null;
    try {
      if (text !== null) localStorage.setItem(this.#key, text);
      else attempt(() => localStorage.removeItem(this.#key));
      return null;
    } catch (error) {
      // No other tab may use a token that this page has replaced: that would look like a theft.
      attempt(() => localStorage.removeItem(this.#key));
      this.#own = text;
      return error;
    }
  }
}

/** Header mode: one entry is the store of all tabs. */
class SharedStore extends Entry {
  get login() {
    return this.read()?.login ?? null;
  }

  read() {
    return parse(this.text);
  }

  write(tokens) {
    return this.put(tokens && JSON.stringify(tokens));
  }
}

/**
 * Cookie mode: the cookie is the store of all tabs, and the access token stays in this one. What
 * localStorage holds is only the name of the login, which tells other tabs, and a new one.
 */
class TabStore extends Entry {
  #tokens = null;

  get login() {
    return this.text;
  }

  read() {
    // A token of another login than the present one isn't used.
    if (this.#tokens?.login !== this.login) this.#tokens = null;
    return this.#tokens;
  }

  write(tokens) {
    this.#tokens = tokens;
    // Written anew, the same value causes no event in other tabs.
    return this.put(tokens && tokens.login);
  }
}

/**
 * Proofs that this browser holds a key (DPoP, RFC 9449). Each login has a key of its own, in
 * IndexedDB, for all tabs; localStorage says which key is the present login's.
 */
class Prover {
  #name;
  #bound; // "login key-id"
  #known = null; // the key that was used last
  #nonces = new Map(); // by origin: what the server wants to see in the next proof

  constructor(name) {
    this.#name = name;
    this.#bound = new Entry(`${name}:key`);
  }

  /** Return a new key, which is stored when its login was answered. Throws where none can be. */
  async make() {
    await this.#keys("readonly", (keys) => keys.count());
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    // false: no script can read the private key, not even this one.
    const { privateKey, publicKey } = await crypto.subtle.generateKey(algorithm, false, ["sign"]);
    // Without the other members that an engine adds: the server takes none that it doesn't know.
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
    return { id: randomName(), privateKey, jwk: { kty, crv, x, y } };
  }

  /** Returns null, or the error by which it could not be stored: then it is in this page only. */
  store(key) {
    return this.#keys("readwrite", (keys) => keys.put(key)).then(
      () => null,
      (cause) => cause,
    );
  }

  isBound(login) {
    return this.#bound.text?.split(" ")[0] === login;
  }

  /** A login takes the place of the one before: bound to this key, or to none. */
  begin(login, key) {
    const id = this.#bound.text?.split(" ")[1];
    this.#bound.put(key && `${login} ${key.id}`);
    this.#known = key;
    if (id) this.remove(id);
  }

  /** The login is over. Without its key no token of it is good, wherever there is one left. */
  end() {
    this.begin(null, null);
  }

  remove(id) {
    this.#keys("readwrite", (keys) => keys.delete(id)).catch(() => {}); // nobody knows its name
  }

  /** Return the key of a login, or null: it has none. Throws NoKey when that can't be found out. */
  async keyOf(login) {
    if (!this.isBound(login)) return null;
    const id = this.#bound.text.split(" ")[1];
    if (this.#known?.id === id) return this.#known;
    const found = await this.#keys("readonly", (keys) => keys.get(id)).catch((cause) => {
      throw new NoKey(cause);
    });
    if (found && this.isBound(login)) this.#known = found;
    return found ?? null;
  }

  /** Send a request, with a proof if there is a key; again if the server wants its nonce in it. */
  async send(request, key, fetch, token) {
    if (!key) return fetch(request);
    const nonce = this.#nonceAt(new URL(request.url).origin);
    const prove = async (one) => {
      one.headers.set("DPoP", await proofOf(key, one, nonce.text, token));
      const answer = await fetch(one);
      const said = answer.headers.get("DPoP-Nonce"); // a good answer says the next one, too
      if (said && said !== nonce.text) nonce.put(said);
      return answer;
    };
    const again = request.clone();
    const answer = await prove(request);
    return (await wantsNonce(answer)) ? prove(again) : answer;
  }

  #nonceAt(origin) {
    if (!this.#nonces.has(origin)) {
      this.#nonces.set(origin, new Entry(`${this.#name}:nonce:${origin}`));
    }
    return this.#nonces.get(origin);
  }

  /** Do it in a transaction. A database that stays open may bar the back/forward cache. */
  async #keys(mode, act) {
    const opening = indexedDB.open(`${this.#name}:keys`);
    opening.onupgradeneeded = () => opening.result.createObjectStore("keys", { keyPath: "id" });
    const database = await new Promise((resolve, reject) => {
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    try {
      const transaction = database.transaction("keys", mode, { durability: "strict" });
      const request = act(transaction.objectStore("keys"));
      return await new Promise((resolve, reject) => {
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  }
}

/** Return a proof for one request (RFC 9449 s4.2). It is good once: each try needs another. */
async function proofOf({ privateKey, jwk }, { method, url }, nonce, token) {
  const octets = (text) => new TextEncoder().encode(text);
  const { origin, pathname } = new URL(url);
  const header = { typ: "dpop+jwt", alg: "ES256", jwk };
  const claims = { jti: crypto.randomUUID(), htm: method, htu: origin + pathname };
  claims.iat = Math.floor(Date.now() / 1000);
  if (nonce) claims.nonce = nonce;
  if (token) claims.ath = base64url(await crypto.subtle.digest("SHA-256", octets(token)));
  const parts = [header, claims].map((part) => base64url(octets(JSON.stringify(part))));
  const message = parts.join(".");
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  const signature = await crypto.subtle.sign(algorithm, privateKey, octets(message));
  return `${message}.${base64url(signature)}`;
}

/** Whether an answer says a nonce, and refuses only because the proof had none, or an old one. */
async function wantsNonce(answer) {
  // RFC 9449 s8: 400 at a token endpoint, in the body; s9: 401 elsewhere, in the challenge.
  if (![400, 401].includes(answer.status) || !answer.headers.has("DPoP-Nonce")) return false;
  const challenge = answer.headers.get("WWW-Authenticate") ?? "";
  return `${challenge} ${await answer.clone().text()}`.includes("use_dpop_nonce");
}

function base64url(octets) {
  const text = btoa(String.fromCharCode(...new Uint8Array(octets)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Return what is kept of a token response. Its time counts from when it was asked for. */
function held(members, login, sentAt) {
  const { access_token, token_type, refresh_token, scope, expires_in } = members;
  const times = { received_at: sentAt, expires_at: sentAt + expires_in * 1000 };
  return { login, stamp: randomName(), access_token, token_type, refresh_token, scope, ...times };
}

function isInvalidToken(answer) {
  // RFC 6750 s3.1. From another origin it is readable where `Settings(origins=...)` names this one.
  const challenge = answer.headers.get("WWW-Authenticate") ?? "";
  return answer.status === 401 && challenge.includes('error="invalid_token"');
}

/** Wait for a promise until the caller's signal aborts. The promise goes on for others. */
function unlessAborted(signal, promise) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

function attempt(act) {
  try {
    return act();
  } catch {
    return null;
  }
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
