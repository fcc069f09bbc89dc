/**
 * The browser's half of wsgi_authkit: who is signed in, and a good access token.
 *
 *     import { getAuth, getAccessToken, subscribe } from "/auth/authkit.js";
 *
 * Everything is asked of the endpoints beside this file. Tokens live in the memory of
 * the page and never in a storage; the refresh token never leaves its cookie.
 *
 * What is exported is described in authkit.d.ts.
 */

const EAGER_COOKIE = "workos-access-token";
const SESSION_HEADER = "X-Authkit-Session";

// Seconds before its expiry from which a token is renewed, and the life, in seconds, up
// to which it counts as short.
const BUFFER = 60;
const SHORT_BUFFER = 30;
const SHORT_LIFE = 300;

// Milliseconds.
const FIRST_RETRY = 1_000;
const LAST_RETRY = 30_000;
const CALL_PATIENCE = 30_000;
// A tab that is frozen while it holds the lock must not stop all others.
const LOCK_PATIENCE = 10_000;
// What a Date header, which counts in seconds, and the way of a response can explain.
const CLOCK_NOISE = 5_000;
// How long a navigation may take to begin.
const LEAVE_WITHIN = 10_000;
// An end of a session that WorkOS does not say may be known later.
const UNKNOWN_PAUSE = 600_000;
// How long who has a token that is still good waits for a fresh one.
const TOKEN_PATIENCE = 5_000;
// The longest that a server can put us off.
const LONGEST_PAUSE = 300_000;
// A page that a reload does not help must not be reloaded all the time.
const RELOAD_PAUSE = 60_000;
const RELOADED_KEY = "authkit-reloaded";
const LONGEST_TIMER = 2 ** 31 - 1;

// Seconds that the clock of WorkOS may be ahead.
const CLOCK_SKEW = 60;

const NOBODY = Object.freeze({
  user: null,
  sessionId: undefined,
  organizationId: undefined,
  role: undefined,
  roles: undefined,
  permissions: undefined,
  entitlements: undefined,
  featureFlags: undefined,
  impersonator: undefined,
});
const ABOUT_SESSION = Object.keys(NOBODY);

/** What went wrong with a call. Its message names no person and no token. */
export class AuthKitError extends Error {
  name = "AuthKitError";

  constructor(
    code,
    message,
    { status = 0, reason, signInUrl, retryAfter, cause } = {},
  ) {
    super(message, { cause });
    this.code = code;
    this.status = status;
    this.reason = reason;
    this.signInUrl = signInUrl;
    this.retryAfter = retryAfter;
  }

  /** Whether trying again can help. The session is as good as before. */
  get isTransient() {
    return this.status >= 500 || [0, 408, 429].includes(this.status);
  }
}

/** The endpoints of the middleware. */
class Server {
  // Milliseconds that the server's clock is ahead of this one.
  #ahead = 0;

  constructor(baseUrl) {
    const folder = String(baseUrl).replace(/\/*$/, "/");
    this.baseUrl = new URL(folder, globalThis.location?.href).href;
  }

  /** Milliseconds since 1970 by the server's clock, which the tokens go by. */
  now() {
    return Date.now() + this.#ahead;
  }

  url(path) {
    return new URL(path, this.baseUrl).href;
  }

  /** A sign-in that comes back to this page. */
  signInUrl(path) {
    const url = new URL(this.url(path));
    const here = globalThis.location;
    if (url.origin === here?.origin && !url.searchParams.has("return_to")) {
      url.searchParams.set("return_to", here.pathname + here.search);
    }
    return url.href;
  }

  async call(path, { body, sessionId } = {}) {
    const sent = Date.now();
    const response = await this.#fetch(path, body, sessionId);
    this.#compareClocks(response.headers.get("Date"), sent);
    const answer = await response.json().catch(() => undefined);
    if (!response.ok) throw this.#error(response, answer?.error ?? {}, answer);
    if (typeof answer !== "object" || answer === null) {
      throw new AuthKitError("invalid_response", `${path} was not answered with JSON`);
    }
    return answer;
  }

  async #fetch(path, body, sessionId) {
    const url = this.url(path);
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (sessionId) headers[SESSION_HEADER] = sessionId;
    try {
      return await fetch(url, {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "include",
        cache: "no-store",
        redirect: "error",
        signal: AbortSignal.timeout?.(CALL_PATIENCE),
      });
    } catch (cause) {
      throw new AuthKitError("unavailable", "the site cannot be reached", { cause });
    }
  }

  #error(response, { code, message, reason }, answer) {
    const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
    const { status } = response;
    code ??= status >= 500 ? "unavailable" : "invalid_response";
    return new AuthKitError(code, message ?? `the site answered with ${status}`, {
      status,
      reason,
      signInUrl: this.#webUrl(answer?.signInUrl),
      retryAfter: Number.isFinite(wait) ? wait : undefined,
    });
  }

  #webUrl(signInUrl) {
    if (typeof signInUrl !== "string") return undefined;
    const url = this.signInUrl(signInUrl);
    return isWeb(url) ? url : undefined;
  }

  #compareClocks(date, sent) {
    const theirs = Date.parse(date ?? "");
    if (Number.isNaN(theirs)) return;
    // The header leaves out what is less than a second.
    const ahead = theirs + 500 - (sent + Date.now()) / 2;
    this.#ahead = Math.abs(ahead) > CLOCK_NOISE ? ahead : 0;
  }
}

/** The other tabs of this site: what they learn is told, and one of them works. */
class Tabs {
  #channel;

  constructor(name, listener) {
    this.name = name;
    if (globalThis.BroadcastChannel) {
      this.#channel = new BroadcastChannel(name);
      this.#channel.onmessage = (event) => listener(event.data);
      this.#channel.unref?.(); // Node.js would wait for it
    } else {
      globalThis.addEventListener?.("storage", (event) => {
        if (event.key === name && event.newValue) listener({});
      });
    }
  }

  /** Tell the others. Where there are no channels only that there is something. */
  tell(message) {
    if (this.#channel) {
      this.#channel.postMessage(message);
      return;
    }
    try {
      globalThis.localStorage?.setItem(this.name, crypto.randomUUID());
      globalThis.localStorage?.removeItem(this.name);
    } catch {
      // Storage is forbidden here; the others see it when they come to the foreground.
    }
  }

  /** Run `work` while no other tab does. The server sees to it as well. */
  async exclusively(work) {
    const locks = globalThis.navigator?.locks;
    if (!locks) return work();
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), LOCK_PATIENCE);
    let started = false;
    try {
      return await locks.request(this.name, { signal: patience.signal }, () => {
        started = true;
        clearTimeout(timer);
        return work();
      });
    } catch (error) {
      if (started) throw error;
      return work();
    } finally {
      clearTimeout(timer);
    }
  }
}

/** An access token, and when it has to be renewed. */
class Token {
  constructor(value, expiresAt) {
    this.value = value;
    this.claims = Object.freeze(claimsOf(value));
    /** Unix seconds. */
    this.expiresAt = expiresAt ?? this.claims.exp ?? 0;
    const life = this.expiresAt - (this.claims.iat ?? this.expiresAt - SHORT_LIFE);
    const buffer = life <= SHORT_LIFE ? SHORT_BUFFER : BUFFER;
    this.renewAt = this.expiresAt - Math.min(buffer, life / 2);
  }

  isOlderThan(other) {
    return this.claims.iat < other.claims.iat;
  }
}

/** Not verified: whoever is given the token verifies it, and a page has no need to. */
function claimsOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) =>
      character.charCodeAt(0),
    );
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/** Take the token that the page was given with eager auth out of its cookie. */
function takeEagerToken() {
  const cookies = globalThis.document?.cookie ?? "";
  const found = cookies.split("; ").find((each) => each.startsWith(`${EAGER_COOKIE}=`));
  if (found === undefined) return null;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${EAGER_COOKIE}=; Max-Age=0; Path=/; SameSite=Lax${secure}`;
  // One that stays was not set by this host, but by another one for its whole domain.
  if (document.cookie.includes(`${EAGER_COOKIE}=`)) return null;
  const token = new Token(found.slice(EAGER_COOKIE.length + 1));
  return token.expiresAt * 1000 > Date.now() ? token : null;
}

class AuthKit {
  #server;
  #tabs;
  #onSessionExpired;
  #state;
  #token;
  // The ids of the user whose page this is and of the session, until that has ended.
  #owner = null;
  #ownedSession;
  // Counts what makes the answer to an earlier question obsolete.
  #epoch = 0;
  // Questions for the session, and those that were asked before the last answer came:
  // they may have overtaken each other.
  #asked = 0;
  #answered = 0;
  #listeners = new Map();
  #running = new Map();
  #timer;
  #failures = 0;
  #retryAfter = 0;
  #hasStarted = false;
  #isLeaving = false;
  // The session whose end was acted on; one whose end was seen while the page was
  // leaving; and one for which the page is still to be reloaded.
  #endedId;
  #unseenEnd;
  #owedReload;

  constructor({ baseUrl, onSessionExpired, eagerToken = null }) {
    this.#token = eagerToken;
    this.#owner = eagerToken?.claims.sub ?? null;
    this.#ownedSession = eagerToken?.claims.sid;
    this.#state = Object.freeze({
      ...NOBODY,
      user: undefined,
      accessToken: eagerToken?.value,
      loading: true,
      error: null,
    });
    this.configure({ baseUrl, onSessionExpired });
  }

  configure({ baseUrl, onSessionExpired } = {}) {
    if (baseUrl !== undefined) {
      if (this.#hasStarted)
        throw new TypeError("baseUrl cannot change after first use");
      this.#server = new Server(baseUrl);
    }
    if (onSessionExpired !== undefined) this.#onSessionExpired = onSessionExpired;
  }

  getState() {
    return this.#state;
  }

  subscribe(listener, { accessToken = true } = {}) {
    const key = {};
    this.#listeners.set(key, { listener, accessToken });
    this.#start();
    listener(this.#state);
    void this.#work();
    return () => {
      this.#listeners.delete(key);
      this.#schedule();
    };
  }

  async getAuth({ ensureSignedIn = false, include = [] } = {}) {
    this.#start();
    const auth = await this.#once(`session ${include}`, () =>
      this.#askSession(include),
    );
    if (auth.user || !ensureSignedIn) return auth;
    this.#leaveFor(this.#server.signInUrl(auth.signInUrl ?? "sign-in"));
    return new Promise(() => {}); // the page is on its way out
  }

  async refreshAuth({ organizationId } = {}) {
    return this.#orError(() =>
      this.#renewSession("refresh", organizationId ? { organizationId } : {}),
    );
  }

  async switchToOrganization(organizationId, { returnTo } = {}) {
    return this.#orError(async () => {
      const target = returnTo === undefined ? undefined : this.#ownUrl(returnTo);
      const body = { organizationId, returnTo: target && pathOf(target) };
      const auth = await this.#renewSession("switch-organization", body);
      if (target) location.assign(target);
      return auth;
    });
  }

  async signOut({ returnTo } = {}) {
    this.#start();
    const body = returnTo === undefined ? {} : { returnTo };
    // What others are told meanwhile, that the session is over, is no news.
    this.#isLeaving = true;
    const { logoutUrl } = await this.#call("sign-out", body).catch((error) => {
      this.#stay();
      throw error;
    });
    this.#epoch += 1;
    this.#adopt({ user: null }, null);
    this.#tell();
    // A navigation of the whole page: WorkOS's own session is in a cookie of its own.
    this.#leaveFor(this.#server.url(logoutUrl));
  }

  async getAccessToken() {
    this.#start();
    const owner = this.#owner;
    if (!this.#isFresh()) await this.#renewInTime();
    // One that no longer fitted the session was let go.
    if (this.#token === null && this.#state.user) await this.#renewToken();
    this.#checkOwner(owner);
    return this.#token?.value;
  }

  async refresh() {
    const owner = this.#owner;
    await this.#renewSession("refresh", {});
    const token = await this.getAccessToken();
    this.#checkOwner(owner);
    return token;
  }

  async getTokenClaims() {
    await this.getAccessToken();
    return this.#token?.claims ?? {};
  }

  async recentAuth({ maxAge } = {}) {
    if (!(Number.isFinite(maxAge) && maxAge >= 0)) {
      throw new TypeError("maxAge must be seconds, 0 or more");
    }
    const { auth_time: authTime } = await this.getTokenClaims();
    if (typeof authTime !== "number") return false;
    const age = this.#server.now() / 1000 - authTime;
    return -CLOCK_SKEW <= age && age <= maxAge;
  }

  watchExpiry({ warnBefore = 300 } = {}) {
    let timer;
    let watched; // the id of the session
    let turn = 0; // counts the sessions, for one can come back
    const at = (seconds, then) => {
      const left = Math.max(0, seconds * 1000 - this.#server.now());
      // What is further off is looked at again: a timer cannot wait for longer.
      const isFar = left > LONGEST_TIMER;
      timer = setTimeout(
        () => (isFar ? at(seconds, then) : then()),
        Math.min(left, LONGEST_TIMER),
      );
    };
    const warn = (end) => {
      const secondsLeft = Math.max(0, Math.round(end - this.#server.now() / 1000));
      fire("authkit:expiring", { secondsLeft });
      at(end, finish);
    };
    // Only WorkOS knows whether it has really ended.
    const finish = async () => {
      const asked = turn;
      const { error } = await this.refreshAuth();
      if (asked === turn && error?.isTransient) timer = setTimeout(finish, LAST_RETRY);
    };
    const ask = async () => {
      const asked = turn;
      const auth = await this.getAuth({ include: ["expiry"] }).catch(() => null);
      if (asked !== turn) return;
      const end = auth?.sessionExpiresAt;
      if (typeof end !== "number") {
        timer = setTimeout(ask, auth === null ? LAST_RETRY : UNKNOWN_PAUSE);
      } else if (end * 1000 > this.#server.now()) {
        at(end - warnBefore, () => warn(end));
      }
      // Of one that has passed, the next renewal of the token tells. To ask at once
      // would ask anew on the page that a reload brings, and so on.
    };
    const follow = (sessionId) => {
      if (sessionId === watched) return;
      clearTimeout(timer);
      watched = sessionId;
      turn += 1;
      if (sessionId !== undefined) void ask();
    };
    // Of whoever is signed in, also later than now.
    const unsubscribe = this.subscribe(({ sessionId }) => follow(sessionId), {
      accessToken: false,
    });
    return () => {
      unsubscribe();
      follow(undefined);
    };
  }

  // Asking the server

  async #call(path, body, { isRepeated = false } = {}) {
    const [owner, sessionId] = [this.#owner, this.#sessionId()];
    // A page that has heard of a sign-out is still that of one person.
    const named = sessionId ?? this.#ownedSession;
    try {
      return await this.#server.call(path, { body, sessionId: named });
    } catch (error) {
      const isOver = error.status === 401;
      const isOfEarlier = isOver && sessionId !== this.#sessionId();
      if (!isRepeated && (isOfEarlier || error.code === "session_changed")) {
        return this.#callAnew(path, body, owner);
      }
      if (isOver && !isOfEarlier) {
        const isNews = this.#state.user !== null;
        this.#adopt({ user: null }, null, { ended: true });
        if (isNews) this.#tell();
      }
      throw error;
    }
  }

  /** Repeat a call for the session that has come after the one it was made for. */
  async #callAnew(path, body, owner) {
    await this.#askOwner(owner);
    return this.#call(path, body, { isRepeated: true });
  }

  /** Find out who is signed in, and go on with the same person only. */
  async #askOwner(owner) {
    const { user } = await this.#askSession([]);
    if (!user) throw sessionIsOver();
    this.#checkOwner(owner);
  }

  /** The same person goes on. What one has begun is not done as another. */
  #checkOwner(owner) {
    if (owner === null || this.#owner === null || this.#owner === owner) return;
    const message = "somebody else has signed in";
    throw new AuthKitError("session_changed", message, { status: 409 });
  }

  #sessionId() {
    return this.#state.sessionId ?? this.#token?.claims.sid;
  }

  async #askSession(include) {
    const [epoch, token] = [this.#epoch, this.#token];
    const turn = (this.#asked += 1);
    const query = include.length ? `?include=${include.map(encodeURIComponent)}` : "";
    try {
      const answer = await this.#server.call(`session${query}`);
      // What was asked before a sign-out or a switch, or before what is known by now, is
      // no longer true.
      const isLate = turn <= this.#answered && this.#isNews(answer);
      // Nor need it be where a token has come meanwhile that is of another session.
      const hasCome = this.#token !== null && this.#token !== token;
      const isOther = hasCome && !(answer.user && isOf(this.#token, answer));
      if (epoch !== this.#epoch || isLate || isOther) return this.#askSession(include);
      this.#answered = this.#asked;
      const auth = this.#isEnded(answer) ? { user: null } : answer;
      const isNews = this.#isNews(auth);
      this.#adopt(auth, this.#token, { ended: true });
      if (isNews) this.#tell();
      return auth;
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** Renew the token, in one tab for all. Where it cannot be, the old one may do. */
  async #renewToken() {
    try {
      // What one is asking for is not shared with whoever comes after.
      await this.#once(`token ${this.#owner}`, () =>
        this.#tabs.exclusively(async () => {
          // Another tab may have told meanwhile.
          if (!this.#isFresh()) await this.#askToken();
        }),
      );
    } catch (error) {
      if (error.status === 401) return;
      this.#fail(error);
      if (!error.isTransient || !this.#isValid()) throw error;
    }
  }

  /** Renew the token, and do not keep waiting who could go on with the old one. */
  async #renewInTime() {
    const renewal = this.#renewToken();
    if (this.#isValid()) {
      let timer;
      const patience = new Promise(
        (then) => (timer = setTimeout(then, TOKEN_PATIENCE)),
      );
      await Promise.race([renewal, patience]).finally(() => clearTimeout(timer));
      if (this.#isValid()) return;
    }
    await renewal;
  }

  async #askToken({ isRepeated = false } = {}) {
    const [owner, epoch, before] = [this.#owner, this.#epoch, this.#token];
    const { accessToken, expiresAt } = await this.#call("token");
    // Somebody has signed out meanwhile.
    if (epoch !== this.#epoch && this.#state.user === null) return;
    this.#checkOwner(owner);
    const token = new Token(accessToken, expiresAt);
    if (!this.#fits(token)) {
      // One of the two is late, the token or what is known of the session.
      await this.#askSession([]);
      this.#checkOwner(owner);
      if (!this.#fits(token)) {
        if (this.#state.user && !isRepeated) await this.#askToken({ isRepeated: true });
        return;
      }
    }
    if (this.#token?.value === accessToken) {
      this.#token.renewAt = token.renewAt; // a session that was renewed has it, too
      return;
    }
    // Another tab has told of a younger one.
    if (this.#token !== null && token.isOlderThan(this.#token)) return;
    this.#adopt(null, token);
    // With the token, role and permissions may have changed.
    if (before) await this.#askSession([]).catch(() => {});
    this.#tell();
  }

  /** Whether a token can be that of the session as it is known. */
  #fits(token) {
    const { user } = this.#state;
    return user === undefined || (user !== null && isOf(token, this.#state));
  }

  async #renewSession(path, body) {
    this.#start();
    const owner = this.#owner;
    return this.#once(`${path} ${JSON.stringify(body)} ${owner}`, () =>
      this.#tabs.exclusively(async () => {
        // While others were working the page may have become somebody else's.
        if (owner !== null && this.#owner === null) throw sessionIsOver();
        this.#checkOwner(owner);
        const epoch = this.#epoch;
        const auth = await this.#call(path, body);
        this.#checkOwner(owner);
        // Before it was known whose page this is, it may have been done as another.
        const doneAs = auth.user?.id;
        if (this.#owner !== null && this.#owner !== doneAs)
          await this.#askOwner(doneAs);
        const isSignedOut = epoch !== this.#epoch && this.#state.user === null;
        if (isSignedOut || this.#isEnded(auth)) throw sessionIsOver();
        this.#epoch += 1;
        this.#adopt(auth, this.#token);
        // It is done, whatever comes of the token: that is tried again.
        if (this.#token) this.#token.renewAt = 0;
        await this.#askToken().catch((error) => {
          if (!error.isTransient) throw error;
          this.#tell();
        });
        this.#schedule();
        return auth;
      }),
    );
  }

  /** Return what is running under a name, or start it. */
  #once(name, work) {
    let running = this.#running.get(name);
    if (running === undefined) {
      running = work().finally(() => this.#running.delete(name));
      this.#running.set(name, running);
    }
    return running;
  }

  async #orError(work) {
    try {
      return await work();
    } catch (error) {
      return { error };
    }
  }

  // What is known

  /**
   * @param auth What the server said of the session, `null` for nothing new.
   * @param ended Whether it is for this page to act on the end of its session.
   */
  #adopt(auth, token, { ended = false } = {}) {
    const known = auth === null ? this.#state : { ...NOBODY, ...pick(auth) };
    const isForeign = Boolean(token && known.user) && !isOf(token, known);
    this.#token = known.user === null || isForeign ? null : token;
    this.#set({
      ...pick(known),
      accessToken: this.#token?.value,
      loading: known.user === undefined,
      error: null,
    });
    // The user is the token's subject; the middleware sees to that.
    const user = known.user === undefined ? token?.claims.sub : known.user?.id;
    const isOver = this.#owner !== null && this.#owner !== (user ?? null);
    if (isForeign) this.#schedule(); // for one that fits
    if (isOver && !ended) return;
    const over = { owner: this.#owner, sessionId: this.#ownedSession };
    this.#owner = user ?? null;
    this.#ownedSession = known.sessionId ?? this.#token?.claims.sid;
    if (isOver) this.#end(over);
  }

  #set(changes) {
    const before = this.#state;
    if (Object.keys(changes).every((key) => isSame(before[key], changes[key]))) return;
    this.#state = Object.freeze({ ...before, ...changes });
    for (const { listener } of [...this.#listeners.values()]) {
      try {
        listener(this.#state);
      } catch (error) {
        globalThis.reportError?.(error);
      }
    }
  }

  /** Whether a session is one whose end was told: it does not come back to life here. */
  #isEnded({ user, sessionId }) {
    // Of one that has ended at WorkOS the access token is good for a while yet.
    return Boolean(user) && sessionId === this.#endedId;
  }

  #fail(error) {
    this.#retryAfter = (error.retryAfter ?? 0) * 1000;
    this.#set({ error, loading: false });
  }

  #isNews(auth) {
    const before = this.#state;
    return !ABOUT_SESSION.every((key) => isSame(before[key], auth[key]));
  }

  /** Whether the token need not be renewed yet. */
  #isFresh() {
    return this.#token !== null && this.#server.now() < this.#token.renewAt * 1000;
  }

  #isValid() {
    return this.#token !== null && this.#server.now() < this.#token.expiresAt * 1000;
  }

  /** A session of this page is over: say so once. */
  #end(ended) {
    this.#unseenEnd = this.#isLeaving ? ended : undefined;
    if (this.#isLeaving || this.#endedId === ended.sessionId) return;
    this.#endedId = ended.sessionId;
    fire("authkit:expired");
    const then = this.#onSessionExpired;
    try {
      if (typeof then === "function") then();
      else if (then !== false) this.#reload(ended);
    } catch (error) {
      globalThis.reportError?.(error);
    }
  }

  /** Reload the page; what a reload has not helped waits until it is looked at again. */
  #reload(ended) {
    const isSoon = isReloaded(ended.sessionId);
    this.#owedReload = isSoon ? ended : undefined;
    if (isSoon) return;
    remember(RELOADED_KEY, `${ended.sessionId} ${Date.now()}`);
    globalThis.location?.reload();
  }

  #reloadIfOwed() {
    const owed = this.#owedReload;
    if (owed === undefined) return;
    // Who has signed in again goes on.
    if (this.#owner === owed.owner) this.#owedReload = undefined;
    else this.#reload(owed);
  }

  // Other tabs

  #tell() {
    const token = this.#token;
    this.#tabs.tell({
      auth: pick(this.#state),
      accessToken: token?.value,
      expiresAt: token?.expiresAt,
    });
  }

  #hear({ auth, accessToken, expiresAt } = {}) {
    const mine = this.#state;
    if (auth === undefined) {
      void this.#check();
    } else if (auth.user === undefined || (auth.user && mine.user === undefined)) {
      // One of the two does not know yet.
    } else if (mine.user === undefined && this.#token === null) {
      this.#epoch += 1; // what is being asked is asked again
    } else if (auth.user === null) {
      // What the page shows is for the moment when somebody looks at it: WorkOS's own
      // session may still be open, and a page that loaded now would sign in again.
      this.#epoch += 1;
      this.#adopt(auth, null);
      this.#schedule();
    } else if (auth.sessionId === mine.sessionId) {
      this.#hearToken(auth, accessToken, expiresAt);
    } else {
      void this.#check();
    }
  }

  #hearToken(auth, accessToken, expiresAt) {
    const heard = accessToken ? new Token(accessToken, expiresAt) : null;
    // Messages can overtake each other.
    if (this.#token !== null && (heard === null || heard.isOlderThan(this.#token)))
      return;
    const isWanted = this.#token !== null || this.#wantsToken();
    this.#epoch += 1;
    this.#adopt(auth, isWanted ? heard : null);
    this.#failures = 0;
    this.#schedule();
  }

  // Time

  /** What happens once, when this page first wants to know something. */
  #start() {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    const { baseUrl } = this.#server;
    this.#tabs = new Tabs(`authkit ${baseUrl}`, (message) => this.#hear(message));
    const check = () => {
      if (globalThis.document?.visibilityState !== "hidden") void this.#check();
    };
    globalThis.document?.addEventListener("visibilitychange", check);
    globalThis.addEventListener?.("focus", check);
    globalThis.addEventListener?.("online", check);
    globalThis.addEventListener?.("pageshow", (event) => {
      if (!event.persisted) return;
      // Back from the cache of whole pages, which may show what a sign-out has ended.
      this.#isLeaving = false;
      check();
    });
  }

  /** Ask whether the session is still what this page takes it for. */
  async #check() {
    const isIdle = this.#state.user === undefined && this.#token === null;
    if (isIdle || this.#isLeaving) return;
    this.#stay();
    this.#failures = 0;
    await this.getAuth().catch(() => {});
    this.#reloadIfOwed();
    await this.#work();
  }

  #wantsToken() {
    return [...this.#listeners.values()].some(({ accessToken }) => accessToken);
  }

  /** Do what is due for those who have subscribed, and see when there is more. */
  #work() {
    return this.#once("work", () => this.#doWork()).then(() => this.#schedule());
  }

  async #doWork() {
    clearTimeout(this.#timer);
    if (this.#listeners.size === 0) return;
    let isDone = true;
    this.#retryAfter = 0;
    try {
      if (this.#state.user === undefined) await this.getAuth();
      if (this.#state.user && this.#wantsToken() && !this.#isFresh()) {
        await this.#renewToken();
        // A server that cannot reach WorkOS hands out the same one.
        isDone = this.#isFresh() || this.#state.user === null;
      }
    } catch {
      isDone = false; // `error` of the state says why
    }
    this.#failures = isDone ? 0 : this.#failures + 1;
  }

  #schedule() {
    clearTimeout(this.#timer);
    const wait = this.#untilWork();
    if (wait === undefined) return;
    this.#timer = setTimeout(() => void this.#work(), Math.min(wait, LONGEST_TIMER));
  }

  /** Milliseconds until there is something to do, `undefined` for nothing. */
  #untilWork() {
    const now = this.#server.now();
    if (this.#listeners.size === 0 || this.#state.user === null) return undefined;
    if (this.#failures > 0) {
      const retry = Math.min(FIRST_RETRY * 2 ** (this.#failures - 1), LAST_RETRY);
      const left = this.#isValid() ? this.#token.expiresAt * 1000 - now : Infinity;
      const pause = Math.min(this.#retryAfter, LONGEST_PAUSE);
      return Math.max(FIRST_RETRY, pause, Math.min(retry, left));
    }
    if (!this.#wantsToken() || this.#running.has("work")) return undefined;
    const due = this.#token?.renewAt ?? (this.#state.user ? 0 : Infinity);
    return due === Infinity ? undefined : Math.max(0, due * 1000 - now);
  }

  // Places

  #ownUrl(path) {
    const url = new URL(path, location.href);
    // Also what is no address at all, such as `javascript:`.
    if (url.origin !== location.origin || !isWeb(url.href)) {
      throw new TypeError("returnTo must be on this site");
    }
    return url.href;
  }

  /** The page was about to leave, and has not: what it did not see comes now. */
  #stay() {
    this.#isLeaving = false;
    const unseen = this.#unseenEnd;
    this.#unseenEnd = undefined;
    // Who has signed in again goes on.
    if (unseen !== undefined && this.#owner !== unseen.owner) this.#end(unseen);
  }

  #leaveFor(url) {
    if (!isWeb(url)) throw new TypeError("only http and https can be followed");
    this.#isLeaving = true;
    // Somebody may have chosen to stay. A reload now could still cut the way short.
    setTimeout(() => (this.#isLeaving = false), LEAVE_WITHIN);
    location.assign(url);
  }
}

function sessionIsOver() {
  const message = "the session of this page is over";
  return new AuthKitError("unauthenticated", message, { status: 401 });
}

function pick(auth) {
  return Object.fromEntries(ABOUT_SESSION.map((key) => [key, auth[key]]));
}

function pathOf(url) {
  const { pathname, search } = new URL(url);
  return pathname + search;
}

/** Whether a token is one of a session, as it is now. */
function isOf({ claims }, { user, sessionId, organizationId }) {
  return (
    claims.sub === user.id &&
    claims.sid === sessionId &&
    (claims.org_id ?? null) === (organizationId ?? null)
  );
}

/** Whether two pieces of JSON are the same. */
function isSame(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

function isWeb(url) {
  return /^https?:/.test(url);
}

/** Whether a page of this tab has been reloaded for a session lately. */
function isReloaded(sessionId) {
  const [earlier, at] = (remembered(RELOADED_KEY) ?? "").split(" ");
  // A clock that was set back is no reason to wait.
  return earlier === sessionId && Math.abs(Date.now() - Number(at)) < RELOAD_PAUSE;
}

function fire(name, detail) {
  globalThis.dispatchEvent?.(new CustomEvent(name, { detail }));
}

const IMPERSONATION_STYLE = `
:host {
  --accent: var(--authkit-impersonation-accent, #b93815);
  --on-accent: var(--authkit-impersonation-on-accent, #fff);
  --background: var(--authkit-impersonation-background, #fff);
  --text: var(--authkit-impersonation-text, #1c1917);
  --font: var(--authkit-impersonation-font, 0.875rem/1.4 system-ui, sans-serif);
  --radius: var(--authkit-impersonation-radius, 0.75rem);
  --frame: var(--authkit-impersonation-frame, 4px);
  position: fixed; inset: 0; z-index: 2147483647; pointer-events: none;
  display: flex; align-items: flex-end; justify-content: center;
}
:host([side="top"]) { align-items: flex-start }
:host([hidden]) { display: none }
@media (prefers-color-scheme: dark) {
  :host {
    --accent: var(--authkit-impersonation-accent, #fd8a4e);
    --on-accent: var(--authkit-impersonation-on-accent, #2a0f04);
    --background: var(--authkit-impersonation-background, #1c1917);
    --text: var(--authkit-impersonation-text, #fafaf9);
  }
}
* { box-sizing: border-box; margin: 0 }
.frame { position: absolute; inset: 0; border: var(--frame) solid var(--accent) }
.bar {
  position: relative; pointer-events: auto; display: flex; align-items: center;
  gap: 0.5rem 0.75rem; max-width: calc(100% - 2rem); margin: 0.75rem; padding: 0.5rem;
  padding-inline-start: 1rem; border: 2px solid var(--accent);
  border-radius: var(--radius); background: var(--background); color: var(--text);
  font: var(--font); box-shadow: 0 2px 12px rgb(0 0 0 / 25%);
  transition: opacity 0.2s;
}
@starting-style { .bar { opacity: 0 } }
@media (prefers-reduced-motion: reduce) { .bar { transition: none } }
.said { min-width: 0; overflow-wrap: anywhere; flex: 1 1 auto }
.failure { font-weight: 600 }
button {
  min-width: 2.5rem; min-height: 2.5rem; padding: 0 0.875rem; border: 0; flex: none;
  border-radius: calc(var(--radius) * 0.6); background: var(--accent);
  color: var(--on-accent); font: inherit; font-weight: 600; cursor: pointer;
}
button:disabled { opacity: 0.6; cursor: default }
.fold { padding: 0; background: transparent; color: inherit }
:focus-visible { outline: 3px solid var(--text); outline-offset: 2px }
.fold svg { display: block; width: 1.25rem; height: 1.25rem; margin: auto; fill: none;
  stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.folded { padding: 0; border-radius: 999px }
.folded .said, .folded .stop { display: none }
.folded .fold { border-radius: 999px; background: var(--accent);
  color: var(--on-accent) }
`;
// Pixels above and below the bar, together.
const BAR_MARGINS = 24;
const FOLDED_KEY = "authkit-impersonation-folded";
const FOLD_PATH = "M5 9l7 7 7-7";
// Two people: who it is, and who it looks like.
const FOLDED_PATH =
  "M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM3 20a6 6 0 0 1 12 0M15 5a3 3 0 0 1 0 6M17 14a6 6 0 0 1 4 6";

/** Element `<authkit-impersonation>`: says on every page whose session this is not. */
class Impersonation extends (globalThis.HTMLElement ?? Object) {
  #unsubscribe;
  #sessionId;
  #parts;
  #sizes;
  // Properties of the page, and what they were before.
  #reserved = new Map();

  static observedAttributes = ["side"];

  attributeChangedCallback() {
    this.#reserve();
  }

  connectedCallback() {
    this.hidden = true;
    this.#unsubscribe = kit.subscribe((state) => this.#show(state), {
      accessToken: false,
    });
  }

  disconnectedCallback() {
    this.#unsubscribe();
    this.#hide();
  }

  #show({ impersonator, user, sessionId, organizationId }) {
    if (!impersonator || !user) {
      this.#hide();
      return;
    }
    this.#parts ??= this.#build();
    if (this.#sessionId === `${sessionId} ${organizationId}`) return;
    this.#sessionId = `${sessionId} ${organizationId}`;
    this.hidden = false;
    this.#name(user, impersonator.reason);
    if (organizationId) void this.#askOrganization(user, impersonator.reason);
    this.#sizes.observe(this.#parts.bar);
  }

  #hide() {
    if (this.hidden) return;
    this.hidden = true;
    this.#sessionId = undefined;
    this.#sizes.disconnect();
    this.#release();
  }

  async #askOrganization(user, reason) {
    const asked = this.#sessionId;
    const auth = await kit.getAuth({ include: ["organization"] }).catch(() => ({}));
    if (asked !== this.#sessionId || !auth.organization) return;
    this.#name(user, reason, auth.organization.name);
  }

  #name(user, reason, organization) {
    const strong = (text) => make("strong", {}, text);
    const said = ["You are impersonating ", strong(user.email || user.id)];
    if (organization) said.push(" in ", strong(organization));
    said.push(".");
    if (reason) said.push(` Reason: ${reason}`);
    this.#parts.text.replaceChildren(...said);
  }

  #build() {
    const root = this.attachShadow({ mode: "open" });
    // Not an element: a policy without 'unsafe-inline' would refuse that.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(IMPERSONATION_STYLE);
    root.adoptedStyleSheets = [sheet];
    const text = make("p", { class: "text", part: "text", role: "status" });
    const stop = make(
      "button",
      { class: "stop", part: "stop", type: "button" },
      "Stop",
    );
    const fold = make("button", { class: "fold", part: "fold", type: "button" });
    const label = "Impersonation";
    const parts = { class: "bar", part: "bar", role: "region", "aria-label": label };
    const failure = make("p", { class: "failure", part: "failure", role: "alert" });
    const said = make("div", { class: "said" }, text, failure);
    const bar = make("div", parts, said, stop, fold);
    root.append(make("div", { class: "frame", part: "frame" }), bar);
    stop.addEventListener("click", () => void this.#stop());
    fold.addEventListener("click", () => this.#fold(!bar.classList.contains("folded")));
    this.#sizes = new ResizeObserver(() => this.#reserve());
    this.#parts = { bar, text, failure, stop, fold };
    this.#fold(remembered(FOLDED_KEY) === "yes");
    return this.#parts;
  }

  #fold(isFolded) {
    const { bar, fold } = this.#parts;
    bar.classList.toggle("folded", isFolded);
    fold.setAttribute("aria-expanded", String(!isFolded));
    fold.setAttribute(
      "aria-label",
      isFolded ? "Show whom you are impersonating" : "Minimize",
    );
    fold.replaceChildren(icon(isFolded ? FOLDED_PATH : FOLD_PATH));
    remember(FOLDED_KEY, isFolded ? "yes" : "no");
  }

  async #stop() {
    const { stop, failure } = this.#parts;
    stop.disabled = true;
    failure.textContent = "";
    try {
      await kit.signOut({ returnTo: this.getAttribute("return-to") ?? undefined });
    } catch {
      failure.textContent = "It could not be stopped just now. Please try again.";
    }
    stop.disabled = false;
  }

  /** Keep the page's own end scrollable to where the bar does not cover it. */
  #reserve() {
    this.#release();
    if (this.hidden || !this.#parts) return;
    const { height } = this.#parts.bar.getBoundingClientRect();
    const side = this.getAttribute("side") === "top" ? "top" : "bottom";
    const { style } = document.documentElement;
    for (const property of [`padding-${side}`, `scroll-padding-${side}`]) {
      this.#reserved.set(property, style.getPropertyValue(property));
      style.setProperty(property, `${Math.ceil(height) + BAR_MARGINS}px`);
    }
  }

  #release() {
    for (const [property, value] of this.#reserved) {
      document.documentElement.style.setProperty(property, value);
    }
    this.#reserved.clear();
  }
}

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function icon(path) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const line = document.createElementNS(namespace, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

// What a page of the same tab goes on with. No secret is among it.

function remembered(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null; // storage is forbidden here
  }
}

function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // As above: each page begins anew.
  }
}

export function createAuthKit(options = {}) {
  return new AuthKit({ baseUrl: new URL(".", import.meta.url), ...options });
}

const kit = createAuthKit({ eagerToken: takeEagerToken() });

export const configure = (options) => kit.configure(options);
export const getState = () => kit.getState();
export const subscribe = (listener, options) => kit.subscribe(listener, options);
export const getAuth = (options) => kit.getAuth(options);
export const refreshAuth = (options) => kit.refreshAuth(options);
export const switchToOrganization = (organizationId, options) =>
  kit.switchToOrganization(organizationId, options);
export const signOut = (options) => kit.signOut(options);
export const getAccessToken = () => kit.getAccessToken();
export const refresh = () => kit.refresh();
export const getTokenClaims = () => kit.getTokenClaims();
export const recentAuth = (options) => kit.recentAuth(options);
export const watchExpiry = (options) => kit.watchExpiry(options);

// Last, and after the scripts that import this one have configured it: an element that
// stands in the page is set up at once.
queueMicrotask(() => {
  if (globalThis.customElements && !customElements.get("authkit-impersonation")) {
    customElements.define("authkit-impersonation", Impersonation);
  }
});
