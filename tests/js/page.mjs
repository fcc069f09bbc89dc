/**
 * A page without a browser: the globals that authkit.js uses, a server, and a clock.
 *
 * `node:test` has the fake timers; only what is asked of the network is faked here.
 */

import { mock } from "node:test";

export const BASE = "https://app.example/auth/";
const START = 1_750_000_000;

const folder = new URL("../../wsgi_authkit/static/", import.meta.url);
let pages = 0;

/** Let everything happen that waits for nothing but its turn. */
export async function settle() {
  for (let turn = 0; turn < 25; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Let time pass, a second at a time. */
export async function pass(seconds) {
  for (let left = seconds; left > 0; left -= 1) {
    mock.timers.tick(Math.min(left, 1) * 1000);
    await settle();
  }
}

export function makeToken({ life = 600, iat = now(), ...claims } = {}) {
  const body = { sub: "user_ada", sid: "session_1", iat, exp: iat + life, ...claims };
  const payload = Buffer.from(JSON.stringify(body)).toString("base64url");
  return `header.${payload}.signature`;
}

export function now() {
  return Math.floor(Date.now() / 1000);
}

/** The endpoints of the middleware. */
export class FakeServer {
  calls = [];
  headers = [];
  bodies = [];
  user = "user_ada";
  sessionId = "session_1";
  life = 600;
  // Seconds before its expiry from which the server renews a token.
  buffer = 60;
  /** Seconds that its clock is ahead; `null` where it says nothing of its time. */
  ahead = null;
  failure = null;
  role = "member";
  sessionExpiresAt = null;
  token = null;

  count(path) {
    return this.calls.filter((call) => call.endsWith(path)).length;
  }

  fetch = async (url, options) => {
    const path = url.slice(BASE.length);
    this.calls.push(`${options.method} ${path}`);
    this.headers.push(options.headers);
    this.bodies.push(options.body && JSON.parse(options.body));
    const body = this.bodies.at(-1);
    if (this.failure instanceof Error) throw this.failure;
    if (this.failure) return this.answer(this.failure.status, this.failure.body);
    const name = path.split("?")[0];
    const isMine = options.headers["X-Authkit-Session"] ?? this.sessionId;
    if (name !== "session" && this.user && isMine !== this.sessionId) {
      const error = { code: "session_changed", message: "another session" };
      return this.answer(409, { error });
    }
    if (name === "session" && !this.user) {
      return this.answer(200, { user: null, signInUrl: "/auth/sign-in" });
    }
    if (name === "sign-out") {
      this.user = null;
      return this.answer(200, { logoutUrl: "https://api.workos.com/logout?id=1" });
    }
    if (!this.user) return this.answer(401, unauthenticated());
    if (name === "token") return this.answer(200, this.currentToken());
    if (name === "refresh" || name === "switch-organization") this.token = null;
    return this.answer(200, this.session(path, body));
  };

  currentToken() {
    const time = now() + (this.ahead ?? 0);
    if (this.token === null || this.token.expiresAt - time <= this.buffer) {
      const accessToken = makeToken({
        life: this.life,
        iat: time,
        sub: this.user,
        sid: this.sessionId,
        org_id: this.organizationId,
      });
      this.token = { accessToken, expiresAt: time + this.life };
    }
    return this.token;
  }

  session(path, body) {
    const { sessionId, role } = this;
    if (body?.organizationId) this.organizationId = body.organizationId;
    const { organizationId } = this;
    const auth = { user: { id: this.user }, sessionId, role, organizationId };
    if (path.includes("expiry")) auth.sessionExpiresAt = this.sessionExpiresAt;
    return auth;
  }

  answer(status, body) {
    const headers = new Headers(body?.headers);
    if (this.ahead !== null) {
      headers.set("Date", new Date(Date.now() + this.ahead * 1000).toUTCString());
    }
    const { headers: _, ...rest } = body ?? {};
    return new Response(JSON.stringify(rest), { status, headers });
  }
}

function unauthenticated() {
  const error = {
    code: "unauthenticated",
    message: "Sign in first.",
    reason: "expired",
  };
  return { error, signInUrl: "/auth/sign-in" };
}

/** Tabs of one browser: their channels and their locks. */
export class FakeBrowser {
  #channels = new Set();
  #tail = Promise.resolve();
  messages = [];

  install() {
    const browser = this;
    globalThis.BroadcastChannel = class {
      constructor(name) {
        this.name = name;
        browser.#channels.add(this);
      }

      postMessage(message) {
        browser.messages.push(message);
        for (const other of browser.#channels) {
          if (other === this || other.name !== this.name) continue;
          queueMicrotask(() => other.onmessage({ data: structuredClone(message) }));
        }
      }
    };
    const locks = {
      request: (_, { signal }, work) => {
        const before = this.#tail;
        const aborted = new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
        });
        const run = Promise.race([before, aborted]).then(work);
        this.#tail = run.catch(() => {});
        return run;
      },
    };
    Object.defineProperty(globalThis, "navigator", {
      value: { locks },
      configurable: true,
    });
  }
}

/** What the page's window does. */
export class FakeWindow extends EventTarget {
  reloads = 0;
  visited = [];
  fired = [];
  cookies = new Map();

  install() {
    const document = new EventTarget();
    Object.defineProperty(document, "cookie", {
      get: () => [...this.cookies].map((pair) => pair.join("=")).join("; "),
      set: (text) => {
        const [name] = text.split("=");
        if (text.includes("Max-Age=0")) this.cookies.delete(name);
      },
    });
    document.visibilityState = "visible";
    globalThis.document = document;
    globalThis.location = {
      href: "https://app.example/page?q=1",
      origin: "https://app.example",
      protocol: "https:",
      pathname: "/page",
      search: "?q=1",
      reload: () => (this.reloads += 1),
      assign: (url) => this.visited.push(url),
    };
    globalThis.addEventListener = this.addEventListener.bind(this);
    globalThis.dispatchEvent = this.dispatchEvent.bind(this);
    for (const name of ["authkit:expiring", "authkit:expired"]) {
      this.addEventListener(name, (event) => this.fired.push([name, event.detail]));
    }
  }

  async comeToForeground() {
    document.dispatchEvent(new Event("visibilitychange"));
    this.dispatchEvent(new Event("focus"));
    await settle();
  }
}

/** Set up a page, as a new one loads it. */
export async function openPage({ eager, locks = true, storage = false } = {}) {
  // What an earlier page has begun must not meet this one's server.
  await settle();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: START * 1000 });
  const server = new FakeServer();
  const browser = new FakeBrowser();
  const window = new FakeWindow();
  globalThis.fetch = server.fetch;
  browser.install();
  window.install();
  if (!locks) {
    Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  }
  const stored = new Map();
  globalThis.sessionStorage = storage
    ? {
        getItem: (key) => stored.get(key) ?? null,
        setItem: (key, text) => stored.set(key, String(text)),
      }
    : undefined;
  const value = typeof eager === "function" ? eager() : eager;
  if (value) window.cookies.set("workos-access-token", value);
  pages += 1;
  const authkit = await import(new URL(`authkit.js?page=${pages}`, folder));
  authkit.configure({ baseUrl: BASE });
  const newTab = (options) => authkit.createAuthKit({ baseUrl: BASE, ...options });
  return { authkit, server, browser, window, newTab };
}
