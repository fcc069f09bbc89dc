// Times the JavaScript libraries on sessions that another process made.
// In: a line of JSON, {"headers", "password"}: the Cookie headers that take turns.
// Then lines of JSON, {"library", "count", "inFlight"}; each is answered by a line,
// the microseconds that one request took. The settings are in the environment.

import { createInterface } from "node:readline";
import { CookieSessionStorage, createAuthService } from "@workos/authkit-session";
import { unsealData } from "iron-session";

const NAME = "wos-session=";

function cookieOf(header) {
  const start = header.indexOf(NAME);
  if (start < 0) return null;
  const end = header.indexOf(";", start);
  return header.slice(start + NAME.length, end < 0 ? undefined : end);
}

class Storage extends CookieSessionStorage {
  async getCookie(header) {
    return cookieOf(header);
  }
}

const service = createAuthService({
  sessionStorageFactory: (config) => new Storage(config),
});

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};
const { headers, password } = await next();

const libraries = {
  "authkit-session": async (header) => (await service.withAuth(header)).auth.user,
  "iron-session": async (header) =>
    (await unsealData(cookieOf(header), { password })).user,
};

let turn = 0;

async function serve(library, count) {
  for (let done = 0; done < count; done++) {
    turn = (turn + 1) % headers.length;
    if (!(await library(headers[turn]))) throw new Error("nobody is signed in");
  }
}

async function time({ library, count, inFlight }) {
  const each = Math.ceil(count / inFlight);
  const start = process.hrtime.bigint();
  await Promise.all(
    Array.from({ length: inFlight }, () => serve(libraries[library], each)),
  );
  return Number(process.hrtime.bigint() - start) / 1000 / (each * inFlight);
}

for (let job = await next(); job !== null; job = await next()) {
  process.stdout.write(`${JSON.stringify(await time(job))}\n`);
}
