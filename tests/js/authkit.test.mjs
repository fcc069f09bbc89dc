import assert from "node:assert/strict";
import { test } from "node:test";

import { makeToken, now, openPage, pass, settle } from "./page.mjs";

const DOWN = {
  status: 503,
  body: { error: { code: "unavailable", message: "later" } },
};

function watch(kit, options) {
  const states = [];
  const stop = kit.subscribe((state) => states.push(state), options);
  return { states, stop, last: () => states.at(-1) };
}

// The state

test("a subscriber is told at once and after each change", async () => {
  const { authkit } = await openPage();
  const { states, last } = watch(authkit);
  assert.equal(states.length, 1);
  assert.deepEqual([last().user, last().loading], [undefined, true]);
  await settle();
  assert.deepEqual([last().user.id, last().loading], ["user_ada", false]);
  assert.ok(last().accessToken);
  assert.equal(authkit.getState(), last());
  assert.ok(Object.isFrozen(last()));
});

test("nothing is asked before somebody wants to know", async () => {
  const { server } = await openPage();
  await pass(60);
  assert.deepEqual(server.calls, []);
});

test("somebody signed out has no token, and none is asked for", async () => {
  const { authkit, server } = await openPage();
  server.user = null;
  const { last } = watch(authkit);
  await pass(600);
  assert.deepEqual(
    [last().user, last().accessToken, last().loading],
    [null, undefined, false],
  );
  assert.deepEqual(server.calls, ["GET session"]);
});

test("a subscriber without tokens has none loaded", async () => {
  const { authkit, server } = await openPage();
  const { last } = watch(authkit, { accessToken: false });
  await pass(1200);
  assert.equal(last().user.id, "user_ada");
  assert.deepEqual(server.calls, ["GET session"]);
});

test("a listener that throws does not keep others from being told", async () => {
  const { authkit } = await openPage();
  let isFirst = true;
  authkit.subscribe(() => {
    if (!isFirst) throw new Error("its own");
    isFirst = false;
  });
  const { last } = watch(authkit);
  await settle();
  assert.equal(last().user.id, "user_ada");
});

test("ensureSignedIn goes to sign in and comes back to this page", async () => {
  const { authkit, server, window } = await openPage();
  server.user = null;
  let isSettled = false;
  authkit.getAuth({ ensureSignedIn: true }).finally(() => (isSettled = true));
  await settle();
  assert.deepEqual(window.visited, [
    "https://app.example/auth/sign-in?return_to=%2Fpage%3Fq%3D1",
  ]);
  assert.equal(isSettled, false);
});

// Tokens in time

for (const [life, renewedAfter] of [
  [600, 540],
  [301, 241],
  [300, 270],
  [60, 30],
  [20, 10],
]) {
  test(`a token of ${life} seconds is renewed after ${renewedAfter}`, async () => {
    const { authkit, server } = await openPage();
    server.life = life;
    server.buffer = life;
    watch(authkit);
    await settle();
    assert.equal(server.count("token"), 1);
    await pass(renewedAfter - 1);
    assert.equal(server.count("token"), 1);
    await pass(1);
    assert.equal(server.count("token"), 2);
  });
}

test("the timer stops with the last subscriber", async () => {
  const { authkit, server } = await openPage();
  const one = watch(authkit);
  const other = watch(authkit);
  await settle();
  one.stop();
  await pass(545);
  assert.equal(server.count("token"), 2);
  other.stop();
  await pass(3600);
  assert.equal(server.count("token"), 2);
});

test("a token refresh renews the session", async () => {
  const { authkit, server } = await openPage();
  const { last } = watch(authkit);
  await settle();
  server.role = "admin";
  await pass(545);
  assert.equal(last().role, "admin");
});

test("a session refresh renews the token", async () => {
  const { authkit, server } = await openPage();
  const { last } = watch(authkit);
  await settle();
  const before = last().accessToken;
  await pass(5);
  server.role = "admin";
  const auth = await authkit.refreshAuth();
  assert.deepEqual([auth.role, last().role], ["admin", "admin"]);
  assert.notEqual(last().accessToken, before);
});

test("getAccessToken returns a token that is good without asking again", async () => {
  const { authkit, server } = await openPage();
  const tokens = await Promise.all([
    authkit.getAccessToken(),
    authkit.getAccessToken(),
  ]);
  assert.equal(tokens[0], tokens[1]);
  assert.equal(await authkit.getAccessToken(), tokens[0]);
  assert.equal(server.count("token"), 1);
  await pass(541);
  assert.notEqual(await authkit.getAccessToken(), tokens[0]);
});

test("a clock of the computer that is wrong by an hour changes nothing", async () => {
  for (const ahead of [3600, -3600]) {
    const { authkit, server } = await openPage();
    server.ahead = ahead;
    watch(authkit);
    await pass(538);
    assert.equal(server.count("token"), 1);
    await pass(4);
    assert.equal(server.count("token"), 2);
  }
});

test("a server that hands out the same token is not asked all the time", async () => {
  const { authkit, server } = await openPage();
  server.buffer = 0;
  const { last } = watch(authkit);
  await settle();
  const first = last().accessToken;
  await pass(599);
  assert.ok(server.count("token") <= 8, String(server.count("token")));
  assert.equal(last().accessToken, first);
  await pass(2);
  assert.notEqual(last().accessToken, first);
});

// Failures

test("an outage keeps the token, and tokens flow again by themselves", async () => {
  const { authkit, server, window } = await openPage();
  const { last } = watch(authkit);
  await pass(530);
  const first = last().accessToken;
  server.failure = DOWN;
  await pass(60);
  assert.deepEqual([last().accessToken, last().error.code], [first, "unavailable"]);
  assert.equal(await authkit.getAccessToken(), first);
  await pass(60);
  assert.equal(last().user.id, "user_ada");
  await assert.rejects(authkit.getAccessToken(), { code: "unavailable" });
  server.failure = null;
  await pass(31);
  assert.notEqual(last().accessToken, first);
  assert.deepEqual([last().error, window.reloads], [null, 0]);
});

test("a network that is gone signs nobody out", async () => {
  const { authkit, server, window } = await openPage();
  const { last } = watch(authkit);
  await settle();
  server.failure = new TypeError("Failed to fetch");
  await pass(700);
  assert.deepEqual(
    [last().user.id, last().error.status, window.reloads],
    ["user_ada", 0, 0],
  );
});

test("tries come further and further apart, and not before Retry-After", async () => {
  const { authkit, server } = await openPage();
  watch(authkit);
  await settle();
  server.failure = DOWN;
  await pass(539);
  const before = server.count("token");
  await pass(60);
  assert.ok(
    server.count("token") - before <= 7,
    String(server.count("token") - before),
  );
  server.failure = {
    ...DOWN,
    body: { ...DOWN.body, headers: { "Retry-After": "100" } },
  };
  await pass(31);
  const known = server.count("token");
  await pass(68);
  assert.equal(server.count("token"), known);
});

test("a page that was opened during an outage finds out afterwards", async () => {
  const { authkit, server } = await openPage();
  server.failure = DOWN;
  const { last } = watch(authkit);
  await settle();
  assert.deepEqual(
    [last().user, last().loading, last().error.code],
    [undefined, false, "unavailable"],
  );
  server.failure = null;
  await pass(2);
  assert.equal(last().user.id, "user_ada");
});

test("refreshAuth and switchToOrganization resolve to the error", async () => {
  const { authkit, server } = await openPage();
  const error = {
    code: "authorization_required",
    message: "SSO",
    reason: "sso_required",
  };
  server.failure = {
    status: 403,
    body: { error, signInUrl: "/auth/sign-in?request=x" },
  };
  for (const call of [
    () => authkit.refreshAuth(),
    () => authkit.switchToOrganization("org_1"),
  ]) {
    const { error } = await call();
    assert.equal(error.reason, "sso_required");
    assert.equal(
      error.signInUrl,
      "https://app.example/auth/sign-in?request=x&return_to=%2Fpage%3Fq%3D1",
    );
    assert.equal(error.isTransient, false);
  }
});

test("an answer that is no JSON is an error with a name", async () => {
  const { authkit } = await openPage();
  globalThis.fetch = async () => new Response("<h1>Bad gateway</h1>", { status: 502 });
  await assert.rejects(authkit.getAuth(), { code: "unavailable", status: 502 });
  globalThis.fetch = async () => new Response("<h1>Welcome</h1>");
  await assert.rejects(authkit.getAuth(), { code: "invalid_response" });
});

// The end of a session

test("a session that is over is told once when the page comes back", async () => {
  const { authkit, server, window } = await openPage();
  const { last } = watch(authkit);
  await settle();
  server.user = null;
  await window.comeToForeground();
  await window.comeToForeground();
  assert.deepEqual([last().user, last().accessToken], [null, undefined]);
  assert.equal(window.reloads, 1);
  assert.deepEqual(window.fired, [["authkit:expired", null]]);
});

test("a session that is over is told once when a call says 401", async () => {
  const { authkit, server, window } = await openPage();
  await authkit.getAccessToken();
  server.user = null;
  await pass(600);
  assert.equal(await authkit.getAccessToken(), undefined);
  assert.equal(await authkit.getAccessToken(), undefined);
  assert.equal(window.reloads, 1);
});

test("onSessionExpired is called instead of a reload, and false is nothing", async () => {
  for (const isCalled of [true, false]) {
    const { authkit, server, window } = await openPage();
    let calls = 0;
    authkit.configure({ onSessionExpired: isCalled ? () => (calls += 1) : false });
    watch(authkit);
    await settle();
    server.user = null;
    await window.comeToForeground();
    assert.deepEqual([calls, window.reloads], [Number(isCalled), 0]);
    assert.equal(window.fired.length, 1);
  }
});

test("a page of somebody who never signed in is not reloaded", async () => {
  const { authkit, server, window } = await openPage();
  server.user = null;
  watch(authkit);
  await settle();
  await window.comeToForeground();
  assert.equal(window.reloads, 0);
});

test("a page does not go on as somebody else", async () => {
  const { authkit, server, window } = await openPage();
  watch(authkit);
  await settle();
  Object.assign(server, { user: "user_bob", sessionId: "session_2", token: null });
  const { error } = await authkit.refreshAuth();
  assert.equal(error.code, "session_changed");
  assert.equal(window.reloads, 1);
});

test("a new session of the same person goes on", async () => {
  const { authkit, server, window } = await openPage();
  watch(authkit);
  await settle();
  Object.assign(server, { sessionId: "session_2", token: null });
  const auth = await authkit.refreshAuth();
  assert.deepEqual([auth.sessionId, window.reloads], ["session_2", 0]);
});

test("each call but the question names the session that it is made for", async () => {
  const { authkit, server } = await openPage();
  watch(authkit);
  await settle();
  await authkit.refreshAuth();
  const named = server.headers.map((headers) => headers["X-Authkit-Session"]);
  const about = server.calls.map((call, index) => [call, named[index]]);
  assert.deepEqual(about, [
    ["GET session", undefined],
    ["GET token", "session_1"],
    ["POST refresh", "session_1"],
    ["GET token", "session_1"],
  ]);
});

test("the coming end is told with the seconds left", async () => {
  const { authkit, server, window } = await openPage();
  server.sessionExpiresAt = now() + 1000;
  authkit.watchExpiry({ warnBefore: 120 });
  await settle();
  await pass(879);
  assert.deepEqual(window.fired, []);
  await pass(1);
  assert.deepEqual(window.fired, [["authkit:expiring", { secondsLeft: 120 }]]);
  server.user = null;
  await pass(120);
  assert.deepEqual(window.fired.at(-1), ["authkit:expired", null]);
  assert.equal(server.count("session?include=expiry"), 1);
});

test("an end that is far off, unknown or no longer watched is not told", async () => {
  for (const [end, stop] of [
    [40 * 86400, false],
    [null, false],
    [1000, true],
  ]) {
    const { authkit, server, window } = await openPage();
    server.sessionExpiresAt = end && now() + end;
    const stopWatching = authkit.watchExpiry();
    await settle();
    if (stop) stopWatching();
    await pass(1200);
    assert.deepEqual(window.fired, []);
  }
});

// Eager auth

test("the eager token is there at once, and its cookie is gone", async () => {
  const token = () => makeToken();
  const { authkit, server, window } = await openPage({ eager: token });
  const value = authkit.getState().accessToken;
  assert.equal(value, makeToken());
  assert.equal(window.cookies.size, 0);
  const { states, last } = watch(authkit);
  assert.equal(states[0].accessToken, value);
  await settle();
  assert.equal(last().accessToken, value);
  assert.deepEqual(server.calls, ["GET session"]);
});

test("an eager token that has expired, or is none, is thrown away", async () => {
  for (const eager of ["nonsense", () => makeToken({ iat: now() - 700 })]) {
    const { authkit, window } = await openPage({ eager });
    assert.equal(authkit.getState().accessToken, undefined);
    assert.equal(window.cookies.size, 0);
  }
});

test("the end of a session that was only known by its eager token is told", async () => {
  const { authkit, server, window } = await openPage({ eager: () => makeToken() });
  server.user = null;
  await pass(600);
  assert.equal(await authkit.getAccessToken(), undefined);
  assert.equal(window.reloads, 1);
});

// Tabs

test("twenty tabs ask for a new token once", async () => {
  const { server, newTab } = await openPage();
  const tabs = Array.from({ length: 20 }, () => watch(newTab()));
  await settle();
  const known = server.count("token");
  await pass(545);
  assert.equal(server.count("token"), known + 1);
  assert.equal(new Set(tabs.map(({ last }) => last().accessToken)).size, 1);
});

test("without locks each tab renews its token", async () => {
  const { authkit, server } = await openPage({ locks: false });
  const { last } = watch(authkit);
  await pass(545);
  assert.equal(server.count("token"), 2);
  assert.ok(last().accessToken);
});

test("a tab that hangs while it holds the lock does not stop the others", async () => {
  const { server, newTab } = await openPage();
  const never = new Promise(() => {});
  navigator.locks.request("x", { signal: new AbortController().signal }, () => never);
  const { last } = watch(newTab());
  await settle();
  assert.equal(last().accessToken, undefined);
  await pass(11);
  assert.ok(last().accessToken);
  assert.equal(server.count("token"), 1);
});

test("a sign-out in one tab is told to the others, and none reloads by itself", async () => {
  const { server, newTab, window } = await openPage();
  const [one, other] = [newTab(), newTab()];
  const { last } = watch(other);
  watch(one);
  await settle();
  await one.signOut({ returnTo: "/bye" });
  await settle();
  assert.deepEqual([last().user, last().accessToken], [null, undefined]);
  assert.deepEqual(server.bodies.at(-1), { returnTo: "/bye" });
  assert.deepEqual(window.visited, ["https://api.workos.com/logout?id=1"]);
  assert.equal(window.reloads, 0);
  // Now somebody looks at it.
  await window.comeToForeground();
  assert.equal(window.reloads, 1);
});

test("a sign-out is not undone by what was asked before it", async () => {
  const { authkit } = await openPage();
  const { states, last } = watch(authkit);
  await settle();
  const release = holdBack("session");
  const late = authkit.getAuth();
  await settle();
  await authkit.signOut();
  const known = states.length;
  release();
  assert.equal((await late).user, null);
  assert.deepEqual([last().user, states.length], [null, known]);
});

test("who asks while others sign out and in is told who it is in the end", async () => {
  const { authkit, server, newTab } = await openPage();
  authkit.configure({ onSessionExpired: false });
  await authkit.getAuth();
  const release = holdBack("session");
  const asked = authkit.getAuth();
  await settle();
  await newTab().signOut();
  await settle();
  Object.assign(server, { user: "user_bob", sessionId: "session_2", token: null });
  release();
  assert.equal((await asked).user.id, "user_bob");
});

test("a switch of the organization shows in all tabs", async () => {
  const { newTab } = await openPage();
  const [one, other] = [newTab(), newTab()];
  const { last } = watch(other);
  watch(one);
  await settle();
  await pass(2);
  await one.switchToOrganization("org_2");
  await settle();
  assert.equal(last().organizationId, "org_2");
  assert.equal(last().accessToken, one.getState().accessToken);
});

test("a tab without tokens does not keep those of others", async () => {
  const { newTab } = await openPage();
  const { last } = watch(newTab(), { accessToken: false });
  watch(newTab());
  await settle();
  assert.equal(last().accessToken, undefined);
});

test("a new session in another tab is asked about", async () => {
  const { server, newTab, window } = await openPage();
  const { last } = watch(newTab());
  await settle();
  Object.assign(server, { user: "user_bob", sessionId: "session_2", token: null });
  watch(newTab());
  await settle();
  assert.equal(last().user.id, "user_bob");
  assert.equal(window.reloads, 1);
});

// Places

test("switchToOrganization goes on to a page of this site only", async () => {
  const { authkit, server, window } = await openPage();
  await authkit.switchToOrganization("org_2", { returnTo: "/team?x=1" });
  assert.deepEqual(window.visited, ["https://app.example/team?x=1"]);
  assert.deepEqual(server.bodies[0], {
    organizationId: "org_2",
    returnTo: "/team?x=1",
  });
  for (const returnTo of [
    "https://evil.example/",
    "javascript:alert(1)",
    "//evil.example",
  ]) {
    const { error } = await authkit.switchToOrganization("org_2", { returnTo });
    assert.ok(error instanceof TypeError);
  }
  assert.equal(window.visited.length, 1);
});

test("a logout URL that is no web address is not followed", async () => {
  const { authkit, window } = await openPage();
  globalThis.fetch = async () => Response.json({ logoutUrl: "javascript:alert(1)" });
  await assert.rejects(authkit.signOut(), TypeError);
  assert.deepEqual(window.visited, []);
});

test("a page on its way to WorkOS is not reloaded", async () => {
  const { authkit, window } = await openPage();
  watch(authkit);
  await settle();
  await authkit.signOut();
  await window.comeToForeground();
  assert.equal(window.reloads, 0);
});

test("a page that comes back out of the browser's cache after a sign-out is", async () => {
  const { authkit, window } = await openPage();
  watch(authkit);
  await settle();
  await authkit.signOut();
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await settle();
  assert.equal(window.reloads, 1);
});

// Claims

test("claims are those of the token, and none for nobody", async () => {
  const { authkit, server } = await openPage();
  assert.equal((await authkit.getTokenClaims()).sub, "user_ada");
  server.user = null;
  await pass(600);
  assert.deepEqual(await authkit.getTokenClaims(), {});
});

test("recentAuth compares auth_time and fails closed", async () => {
  const claims = { auth_time: 1_750_000_000 - 100 };
  const { authkit } = await openPage({ eager: () => makeToken(claims) });
  assert.equal(await authkit.recentAuth({ maxAge: 100 }), true);
  assert.equal(await authkit.recentAuth({ maxAge: 99 }), false);
  for (const maxAge of [undefined, -1, Number.NaN, "10"]) {
    await assert.rejects(authkit.recentAuth({ maxAge }), TypeError);
  }
  const other = await openPage();
  assert.equal(await other.authkit.recentAuth({ maxAge: 1e9 }), false);
});

// What one person may not get of another

function subjectOf(token) {
  return token && JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub;
}

/** Hold the answer to the next call of a path back, until it is released. */
function holdBack(path, replaced) {
  const answer = globalThis.fetch;
  let release;
  const held = new Promise((resolve) => (release = resolve));
  globalThis.fetch = async (url, options) => {
    if (!url.endsWith(path)) return answer(url, options);
    globalThis.fetch = answer;
    const response = replaced ?? (await answer(url, options));
    await held;
    return response;
  };
  return release;
}

function gone(server) {
  const error = { code: "unauthenticated", message: "Sign in first." };
  return server.answer(401, { error });
}

test("no state has the token of another person, and none is told to others", async () => {
  const { authkit, server, browser, newTab, window } = await openPage();
  authkit.configure({ onSessionExpired: false });
  const ada = watch(authkit);
  await settle();
  Object.assign(server, { user: "user_bob", sessionId: "session_2", token: null });
  const bob = newTab({ onSessionExpired: false });
  const { states } = watch(bob);
  await settle();
  await window.comeToForeground();
  assert.equal(subjectOf(await authkit.getAccessToken()), "user_bob");
  const told = browser.messages.map(({ auth, accessToken }) => [
    auth.user?.id,
    subjectOf(accessToken),
  ]);
  const shown = [...states, ...ada.states].map(({ user, accessToken }) => [
    user?.id,
    subjectOf(accessToken),
  ]);
  for (const [user, subject] of [...told, ...shown]) {
    assert.ok(!user || !subject || user === subject, `${user}: ${subject}`);
  }
});

test("a switch that a form made renews the token", async () => {
  const { authkit, server, window } = await openPage();
  server.organizationId = "org_1";
  const { last } = watch(authkit);
  await settle();
  Object.assign(server, { organizationId: "org_2", token: null });
  await pass(2);
  await window.comeToForeground();
  await pass(1);
  const claims = await authkit.getTokenClaims();
  assert.deepEqual([last().organizationId, claims.org_id], ["org_2", "org_2"]);
});

test("an eager cookie that cannot be deleted is another host's, and not used", async () => {
  const { window, authkit } = await openPage();
  window.cookies.set("workos-access-token", makeToken({ sub: "user_mallory" }));
  window.cookies.delete = () => false;
  const again = await import(
    new URL("../../wsgi_authkit/static/authkit.js?planted", import.meta.url)
  );
  assert.equal(again.getState().accessToken, undefined);
  assert.equal(authkit.getState().accessToken, undefined);
});

test("a page that only asks for tokens notices a sign-out, and names its session", async () => {
  const { authkit, server, newTab, window } = await openPage();
  await authkit.getAccessToken();
  await newTab().signOut();
  await settle();
  assert.equal(authkit.getState().accessToken, undefined);
  await window.comeToForeground();
  assert.equal(window.reloads, 1);

  const other = await openPage();
  await other.authkit.getAccessToken();
  Object.assign(other.server, { user: "user_bob", sessionId: "s_2", token: null });
  await pass(570);
  await assert.rejects(other.authkit.getAccessToken(), { code: "session_changed" });
  assert.equal(server.count("sign-out"), 1);
});

test("a refresh that is answered after a sign-out brings nobody back", async () => {
  const { authkit, newTab, window } = await openPage();
  const { states } = watch(authkit);
  await settle();
  const release = holdBack("refresh");
  const late = authkit.refreshAuth();
  await settle();
  await newTab().signOut();
  await settle();
  const known = states.length;
  release();
  assert.equal((await late).error.code, "unauthenticated");
  assert.deepEqual([states.length, window.reloads], [known, 0]);
});

test("a page that is still loading does not miss a sign-out", async () => {
  const { authkit, newTab } = await openPage();
  const other = newTab();
  watch(other);
  await settle();
  const release = holdBack("session");
  const { last } = watch(authkit, { accessToken: false });
  await settle();
  await other.signOut();
  await settle();
  release();
  await settle();
  assert.equal(last().user, null);
});

test("a page that is signing out is not reloaded meanwhile", async () => {
  const { authkit, window } = await openPage();
  watch(authkit);
  await settle();
  const release = holdBack("sign-out");
  const leaving = authkit.signOut();
  await settle();
  await window.comeToForeground();
  assert.equal(window.reloads, 0);
  release();
  await leaving;
  assert.equal(window.visited.length, 1);
});

test("a switch whose token cannot be had at once is a switch", async () => {
  const { authkit, window, browser } = await openPage();
  watch(authkit);
  await settle();
  const answer = globalThis.fetch;
  globalThis.fetch = async (url, options) => {
    if (url.endsWith("token")) throw new TypeError("Failed to fetch");
    return answer(url, options);
  };
  const auth = await authkit.switchToOrganization("org_2", { returnTo: "/team" });
  assert.deepEqual([auth.organizationId, window.visited.length], ["org_2", 1]);
  assert.equal(browser.messages.at(-1).auth.organizationId, "org_2");
  globalThis.fetch = answer;
  await pass(3);
  assert.equal((await authkit.getTokenClaims()).org_id, "org_2");
});

test("the end of a session that was replaced is not told, and an outage not the last word", async () => {
  const { authkit, server, window } = await openPage();
  server.failure = DOWN;
  server.sessionExpiresAt = now() + 600;
  watch(authkit);
  authkit.watchExpiry({ warnBefore: 120 });
  await settle();
  server.failure = null;
  await pass(300);
  server.sessionExpiresAt = now() + 86400;
  Object.assign(server, { sessionId: "session_2", token: null });
  await window.comeToForeground();
  await pass(400);
  assert.deepEqual([window.fired, server.count("refresh")], [[], 0]);
  await pass(86400 - 400 - 119);
  assert.deepEqual(window.fired, [["authkit:expiring", { secondsLeft: 120 }]]);
});

test("onSessionExpired that throws harms nothing, and runs once a session", async () => {
  const { authkit, server, window } = await openPage();
  let calls = 0;
  authkit.configure({
    onSessionExpired: () => {
      calls += 1;
      throw new Error("its own");
    },
  });
  const { last } = watch(authkit);
  await settle();
  const rejected = { code: "unauthenticated", message: "over" };
  server.failure = { status: 401, body: { error: rejected } };
  await authkit.refreshAuth();
  // Its access token is good for a while yet, so the server takes it for signed in.
  server.failure = null;
  await window.comeToForeground();
  server.user = null;
  await window.comeToForeground();
  assert.deepEqual([calls, last().error], [1, null]);
});

test("a page that a reload does not help is not reloaded again at once", async () => {
  const { authkit, server, window, newTab } = await openPage({ storage: true });
  const { last } = watch(authkit);
  await settle();
  server.user = null;
  await window.comeToForeground();
  server.user = "user_ada";
  const reloaded = newTab();
  watch(reloaded);
  await settle();
  server.user = null;
  await reloaded.getAuth();
  assert.deepEqual([last().user, window.reloads], [null, 1]);
  // But it does not go on for ever as the page of somebody signed out.
  await pass(61);
  assert.equal(window.reloads, 1);
  await window.comeToForeground();
  assert.equal(window.reloads, 2);
});

test("who has signed in again is not disturbed by a reload that was put off", async () => {
  const { authkit, server, window, newTab } = await openPage({ storage: true });
  watch(authkit);
  await settle();
  server.user = null;
  await window.comeToForeground();
  server.user = "user_ada";
  const reloaded = newTab();
  watch(reloaded);
  await settle();
  server.user = null;
  await reloaded.getAuth();
  Object.assign(server, { user: "user_ada", sessionId: "session_2", token: null });
  await reloaded.getAuth();
  const known = window.reloads;
  await pass(61);
  await window.comeToForeground();
  assert.equal(window.reloads, known);
});

test("a reload for one session does not stand in the way of that for the next", async () => {
  const { authkit, server, window, newTab } = await openPage({ storage: true });
  watch(authkit);
  await settle();
  server.user = null;
  await window.comeToForeground();
  Object.assign(server, { user: "user_ada", sessionId: "session_2", token: null });
  const page = newTab();
  watch(page);
  await pass(20);
  Object.assign(server, { user: "user_bob", sessionId: "session_3", token: null });
  await page.getAuth();
  assert.deepEqual([page.getState().user.id, window.reloads], ["user_bob", 2]);
});

test("who has a token that is good does not wait for a site that hangs", async () => {
  const { authkit, server } = await openPage();
  server.life = 300;
  watch(authkit);
  await pass(269);
  globalThis.fetch = () => new Promise(() => {});
  await pass(2);
  let token;
  authkit.getAccessToken().then((value) => (token = value));
  await pass(4);
  assert.equal(token, undefined);
  await pass(2);
  assert.ok(token);
});

// Answers that come late

test("a message of another tab takes no token away from who waits for it", async () => {
  const { authkit, newTab } = await openPage();
  await authkit.getAuth();
  const release = holdBack("token");
  const asked = authkit.getAccessToken();
  await settle();
  await newTab().getAuth();
  await settle();
  release();
  assert.equal(typeof (await asked), "string");
});

test("a late 401 of an earlier session signs nobody out of the next", async () => {
  const { authkit, server, window, newTab } = await openPage();
  const { last } = watch(authkit, { accessToken: false });
  const other = watch(newTab({ onSessionExpired: false }), { accessToken: false });
  await settle();
  const release = holdBack("token", gone(server));
  const asked = authkit.getAccessToken();
  await settle();
  Object.assign(server, { sessionId: "session_2", token: null });
  await window.comeToForeground();
  release();
  assert.equal(subjectOf(await asked), "user_ada");
  await settle();
  assert.deepEqual([last().user.id, other.last().user.id], ["user_ada", "user_ada"]);
  assert.deepEqual([window.reloads, window.fired], [0, []]);
});

test("a late 401 does not hand the page of one person the token of another", async () => {
  const { authkit, server, window } = await openPage();
  authkit.configure({ onSessionExpired: false });
  watch(authkit, { accessToken: false });
  await settle();
  const release = holdBack("token", gone(server));
  const asked = authkit.getAccessToken();
  await settle();
  Object.assign(server, { user: "user_bob", sessionId: "session_2", token: null });
  await window.comeToForeground();
  release();
  await assert.rejects(asked, { code: "session_changed" });
});

test("a call that is repeated names the session it is repeated for", async () => {
  const { authkit, server } = await openPage();
  await authkit.getAuth();
  server.sessionId = "session_2";
  await authkit.getAccessToken();
  const named = server.headers.map((headers) => headers["X-Authkit-Session"]);
  assert.deepEqual(named, [undefined, "session_1", undefined, "session_2"]);
});

for (const [how, comeBack] of [
  [
    "comes back out of the browser's cache",
    async (window) =>
      window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true })),
  ],
  [
    "was not left after all",
    async (window) => {
      await pass(11);
      // A way that is slow is not cut short.
      assert.equal(window.reloads, 0);
      await window.comeToForeground();
    },
  ],
]) {
  test(`an end seen while leaving is told when the page ${how}`, async () => {
    const { authkit, server, window } = await openPage();
    watch(authkit);
    await settle();
    const release = holdBack("refresh", gone(server));
    const refreshed = authkit.refreshAuth();
    await settle();
    await authkit.signOut();
    release();
    await refreshed;
    assert.equal(window.reloads, 0);
    await comeBack(window);
    await settle();
    assert.equal(window.reloads, 1);
  });
}

test("a refresh that brings the same token is not repeated all the time", async () => {
  const { authkit, server } = await openPage();
  watch(authkit);
  await settle();
  holdBack("refresh", server.answer(200, server.session("refresh")))();
  await authkit.refreshAuth();
  const known = server.count("token");
  await pass(300);
  assert.equal(server.count("token"), known);
});

test("the end is watched of who signs in later, and asked for again while unknown", async () => {
  const { authkit, server, window } = await openPage();
  server.user = null;
  const stop = authkit.watchExpiry({ warnBefore: 60 });
  await settle();
  server.user = "user_ada";
  await window.comeToForeground();
  server.sessionExpiresAt = now() + 1200;
  await pass(1139);
  assert.deepEqual(window.fired, []);
  await pass(2);
  assert.equal(window.fired.length, 1);
  assert.equal(server.count("session?include=expiry"), 2);
  stop();
  await pass(1200);
  assert.equal(server.count("refresh"), 0);
});

test("a session that goes and comes back is announced once", async () => {
  const { authkit, server, newTab, window } = await openPage();
  server.sessionExpiresAt = now() + 600;
  const release = holdBack("expiry");
  authkit.watchExpiry({ warnBefore: 60 });
  await settle();
  // Another tab takes it that nobody is signed in, and says so.
  server.user = null;
  await newTab().getAuth();
  await settle();
  assert.equal(authkit.getState().user, null);
  server.user = "user_ada";
  await window.comeToForeground();
  release();
  await settle();
  await pass(570);
  const warned = window.fired.filter(([name]) => name === "authkit:expiring");
  assert.equal(warned.length, 1);
});

test("a token asked for before it is known who is signed in is handed out", async () => {
  const { authkit, server } = await openPage();
  const release = holdBack("token", gone(server));
  const asked = authkit.getAccessToken();
  await settle();
  await authkit.getAuth();
  release();
  assert.equal(subjectOf(await asked), "user_ada");
});

test("a token that is asked for again is not that of somebody else", async () => {
  const { authkit, server, browser, newTab, window } = await openPage();
  authkit.configure({ onSessionExpired: false });
  await authkit.getAuth();
  const release = holdBack("token");
  const asked = authkit.getAccessToken();
  await settle();
  await newTab().getAuth();
  await settle();
  assert.equal(browser.messages.at(-1).auth.user.id, "user_ada");
  Object.assign(server, { user: "user_bob", sessionId: "session_2", token: null });
  await window.comeToForeground();
  release();
  await assert.rejects(asked, { code: "session_changed" });
});

test("a late token of an earlier session is asked for again", async () => {
  const { authkit, server, window } = await openPage();
  await authkit.getAuth();
  const release = holdBack("token");
  const asked = authkit.getAccessToken();
  await settle();
  Object.assign(server, { sessionId: "session_2", token: null });
  await window.comeToForeground();
  release();
  const token = await asked;
  assert.equal(subjectOf(token), "user_ada");
  assert.equal((await authkit.getTokenClaims()).sid, "session_2");
});

test("a younger token that lives shorter is taken", async () => {
  const { authkit, server } = await openPage();
  const { last } = watch(authkit);
  await settle();
  const first = last().accessToken;
  await pass(10);
  server.life = 60;
  await authkit.refreshAuth();
  assert.notEqual(last().accessToken, first);
  assert.equal((await authkit.getTokenClaims()).exp, now() + 60);
});

test("an older answer does not undo a younger one", async () => {
  const { authkit, server, window } = await openPage();
  const { states, last } = watch(authkit, { accessToken: false });
  await settle();
  const release = holdBack("expiry");
  const late = authkit.getAuth({ include: ["expiry"] });
  await settle();
  Object.assign(server, { sessionId: "session_2", token: null });
  await window.comeToForeground();
  const known = states.length;
  release();
  assert.equal((await late).sessionId, "session_2");
  assert.deepEqual([last().sessionId, states.length], ["session_2", known]);
});

test("a session that ends while a call is repeated is over", async () => {
  const { authkit, server, window } = await openPage();
  await authkit.getAuth();
  server.sessionId = "session_2";
  const answer = globalThis.fetch;
  globalThis.fetch = async (url, options) => {
    const isRepeated = options.headers["X-Authkit-Session"] === "session_2";
    if (url.endsWith("token") && isRepeated) server.user = null;
    return answer(url, options);
  };
  assert.equal(await authkit.getAccessToken(), undefined);
  assert.equal(authkit.getState().user, null);
  assert.deepEqual([window.fired.length, window.reloads], [1, 1]);
});

test("an outage at the end of a session is not the last word", async () => {
  const { authkit, server, window } = await openPage();
  server.sessionExpiresAt = now() + 100;
  authkit.watchExpiry({ warnBefore: 60 });
  await settle();
  await pass(90);
  server.failure = DOWN;
  await pass(20);
  server.failure = null;
  server.user = null;
  await pass(40);
  assert.deepEqual(
    window.fired.map(([name]) => name),
    ["authkit:expiring", "authkit:expired"],
  );
});

test("who no longer watches is told nothing, whatever is still on its way", async () => {
  const { authkit, server, window } = await openPage();
  server.sessionExpiresAt = now() + 400;
  const release = holdBack("expiry");
  const stop = authkit.watchExpiry({ warnBefore: 60 });
  await settle();
  Object.assign(server, { sessionId: "session_2", token: null });
  await window.comeToForeground();
  release();
  await settle();
  stop();
  await pass(420);
  assert.deepEqual([window.fired, server.count("refresh")], [[], 0]);
});

test("an older token does not take the place of one that another tab has told", async () => {
  const { authkit, newTab } = await openPage({ locks: false });
  const { last } = watch(authkit, { accessToken: false });
  await settle();
  const release = holdBack("token");
  watch(authkit);
  await pass(2);
  const other = newTab();
  await other.getAuth();
  await other.refresh();
  await settle();
  const younger = other.getState().accessToken;
  assert.equal(last().accessToken, younger);
  release();
  await settle();
  assert.equal(last().accessToken, younger);
});

test("a sign-out elsewhere while a token is asked for reloads nothing by itself", async () => {
  const { authkit, newTab, window } = await openPage();
  await authkit.getAuth();
  const release = holdBack("token");
  const asked = authkit.getAccessToken();
  await settle();
  await newTab().signOut();
  await settle();
  release();
  assert.equal(await asked, undefined);
  assert.deepEqual([window.reloads, window.fired], [0, []]);
});

test("a repeated call is late as well when the session has changed once more", async () => {
  const { authkit, server, window } = await openPage();
  await authkit.getAuth();
  server.sessionId = "session_2";
  const answer = globalThis.fetch;
  let release;
  globalThis.fetch = async (url, options) => {
    if (options.headers["X-Authkit-Session"] !== "session_2")
      return answer(url, options);
    await new Promise((resolve) => (release = resolve));
    return gone(server);
  };
  const asked = authkit.getAccessToken();
  await settle();
  server.sessionId = "session_3";
  await window.comeToForeground();
  release();
  await asked;
  assert.deepEqual(
    [authkit.getState().user.id, authkit.getState().sessionId, window.reloads],
    ["user_ada", "session_3", 0],
  );
});

test("a session whose end was told does not come back to life", async () => {
  const { authkit, server, newTab, window } = await openPage();
  authkit.configure({ onSessionExpired: false });
  const { last } = watch(authkit);
  await settle();
  holdBack("refresh", gone(server))();
  await authkit.refreshAuth();
  assert.equal(last().user, null);
  // Its access token is good for a while yet, and other tabs go on with it.
  assert.equal(await authkit.getAccessToken(), undefined);
  assert.equal((await authkit.getAuth()).user, null);
  await newTab().getAuth();
  await window.comeToForeground();
  assert.equal(last().user, null);
  Object.assign(server, { sessionId: "session_2", token: null });
  await window.comeToForeground();
  assert.equal(last().sessionId, "session_2");
  assert.equal(window.fired.length, 1);
});

const BOB = { user: "user_bob", sessionId: "session_2", token: null };

for (const [what, meanwhile, code] of [
  ["somebody else", () => {}, "session_changed"],
  [
    "who signs in after its end",
    async (server, window) => {
      server.user = null;
      await window.comeToForeground();
    },
    "unauthenticated",
  ],
]) {
  test(`what waits for another tab is not done as ${what}`, async () => {
    const { authkit, server, window, newTab } = await openPage();
    authkit.configure({ onSessionExpired: false });
    const other = newTab({ onSessionExpired: false });
    await Promise.all([authkit.getAuth(), other.getAuth()]);
    const release = holdBack("refresh");
    void other.refreshAuth();
    const switched = authkit.switchToOrganization("org_2");
    await settle();
    await meanwhile(server, window);
    Object.assign(server, BOB);
    if (code === "session_changed") await window.comeToForeground();
    release();
    assert.equal((await switched).error.code, code);
    assert.equal(server.count("switch-organization"), 0);
  });
}

test("a page that has heard of a sign-out does nothing as who signs in next", async () => {
  const { authkit, server, newTab } = await openPage();
  authkit.configure({ onSessionExpired: false });
  await authkit.getAuth();
  await newTab().signOut();
  await settle();
  Object.assign(server, BOB);
  const { error } = await authkit.switchToOrganization("org_2");
  assert.equal(error.code, "session_changed");
  assert.equal(server.organizationId, undefined);
});

test("a switch that was begun before it was known as whom ends another's page", async () => {
  const { authkit, server, window } = await openPage();
  const know = holdBack("session");
  const { last } = watch(authkit, { accessToken: false });
  await settle();
  Object.assign(server, BOB);
  const release = holdBack("switch-organization");
  const switched = authkit.switchToOrganization("org_1");
  await settle();
  know();
  await settle();
  assert.equal(last().user.id, "user_ada");
  release();
  assert.equal((await switched).user.id, "user_bob");
  assert.equal(window.fired.length, 1);
  Object.assign(server, {
    user: "user_ada",
    sessionId: "session_3",
    organizationId: undefined,
    token: null,
  });
  const { error } = await authkit.switchToOrganization("org_2");
  assert.equal(error.code, "session_changed");
  assert.equal(server.organizationId, undefined);
});

test("a late refresh that was begun before it was known as whom ends nothing", async () => {
  const { authkit, server, window } = await openPage();
  const release = holdBack("refresh");
  const refreshed = authkit.refreshAuth();
  await settle();
  Object.assign(server, BOB);
  await authkit.getAuth();
  release();
  assert.equal((await refreshed).error.code, "session_changed");
  assert.equal(authkit.getState().user.id, "user_bob");
  assert.deepEqual(window.fired, []);
});

test("a token that was waited for is not that of somebody else", async () => {
  const { authkit, server, window, newTab } = await openPage();
  authkit.configure({ onSessionExpired: false });
  const other = newTab({ onSessionExpired: false });
  await Promise.all([authkit.getAuth(), other.getAuth()]);
  const release = holdBack("refresh");
  void other.refreshAuth();
  const asked = authkit.getAccessToken();
  await settle();
  Object.assign(server, BOB);
  await window.comeToForeground();
  release();
  await assert.rejects(asked, { code: "session_changed" });
});

test("a refresh at the end of a session brings no token of the next", async () => {
  const { authkit, server } = await openPage();
  authkit.configure({ onSessionExpired: false });
  await authkit.getAuth();
  await authkit.getAccessToken();
  await pass(1);
  const release = holdBack("session", server.answer(200, { user: null }));
  const refreshed = authkit.refresh();
  await settle();
  Object.assign(server, BOB);
  release();
  await assert.rejects(refreshed, { code: "session_changed" });
});

test("who comes next gets a token, whatever another person still waits for", async () => {
  const { authkit, server, window } = await openPage();
  authkit.configure({ onSessionExpired: false });
  await authkit.getAuth();
  const release = holdBack("token");
  const first = assert.rejects(authkit.getAccessToken(), { code: "session_changed" });
  await settle();
  Object.assign(server, BOB);
  await window.comeToForeground();
  const next = authkit.getAccessToken();
  release();
  await first;
  assert.equal(subjectOf(await next), "user_bob");
});

test("a switch while a token is renewed leaves nobody without one", async () => {
  const { authkit, server } = await openPage();
  await authkit.getAuth();
  await authkit.getAccessToken();
  await pass(600);
  const answer = globalThis.fetch;
  globalThis.fetch = async (url, options) => {
    if (url.endsWith("session") && !server.organizationId) {
      Object.assign(server, { organizationId: "org_1", token: null });
    }
    return answer(url, options);
  };
  assert.equal(typeof (await authkit.getAccessToken()), "string");
  assert.equal((await authkit.getTokenClaims()).org_id, "org_1");
});

test("who has signed in again is not told of an end seen while leaving", async () => {
  const { authkit, server, window } = await openPage();
  const { last } = watch(authkit);
  await settle();
  const release = holdBack("refresh", gone(server));
  const refreshed = authkit.refreshAuth();
  await settle();
  await authkit.signOut();
  release();
  await refreshed;
  await pass(11);
  Object.assign(server, { user: "user_ada", sessionId: "session_2", token: null });
  await authkit.getAuth();
  await window.comeToForeground();
  assert.equal(last().sessionId, "session_2");
  assert.deepEqual([window.reloads, window.fired], [0, []]);
});

test("a refresh that is answered after the end shows nobody again", async () => {
  const { authkit, server, window } = await openPage();
  authkit.configure({ onSessionExpired: false });
  const { states, last } = watch(authkit);
  await settle();
  const release = holdBack("refresh");
  const refreshed = authkit.refreshAuth();
  await settle();
  server.user = null;
  await window.comeToForeground();
  assert.equal(last().user, null);
  const known = states.length;
  release();
  assert.equal((await refreshed).error.code, "unauthenticated");
  assert.equal(states.length, known);
});

test("an answer from before the token has come takes nothing from its owner", async () => {
  const { authkit, server, window } = await openPage();
  const release = holdBack("session");
  const late = authkit.getAuth();
  await settle();
  Object.assign(server, BOB);
  const token = await authkit.getAccessToken();
  release();
  assert.equal((await late).user.id, "user_bob");
  assert.equal(authkit.getState().accessToken, token);
  assert.deepEqual([window.reloads, window.fired], [0, []]);
});

test("a question that was overtaken on its way undoes no younger answer", async () => {
  const { authkit, server } = await openPage();
  const { last } = watch(authkit, { accessToken: false });
  await settle();
  const answer = globalThis.fetch;
  let arrive;
  const arrived = new Promise((resolve) => (arrive = resolve));
  globalThis.fetch = async (url, options) => {
    if (url.endsWith("expiry")) await arrived;
    return answer(url, options);
  };
  const first = authkit.getAuth({ include: ["expiry"] });
  const release = holdBack("session");
  server.sessionId = "session_2";
  const second = authkit.getAuth();
  await settle();
  server.sessionId = "session_3";
  arrive();
  assert.equal((await first).sessionId, "session_3");
  release();
  assert.equal((await second).sessionId, "session_3");
  assert.equal(last().sessionId, "session_3");
});
