// Writes path_patterns.json: what path-to-regexp 6 makes of patterns and paths.
//
//   npm install path-to-regexp@6 && node make_path_patterns.mjs > path_patterns.json
//
// The README beside it explains the columns.
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { parse, pathToRegexp, tokensToRegexp } = require("path-to-regexp");
const { version } = require("path-to-regexp/package.json");

// A linear congruential generator: the same choice each time.
let seed = 4;
const random = (below) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * below);
};
const choose = (list) => list[random(list.length)];
const combine = (list, others) => list.flatMap((a) => others.map((b) => `/${a}/${b}`));

const parts = [
  "a", "Ab", ":x", ":x?", ":x*", ":x+", "(.*)", ":x(.*)",
  "a-:x", "a:x?", ":x.:y", ":x.:y?", ":x-:y", "a.:x*", ".:x", "a(.*)", "(.*)b", "$~@!",
];
const values = [
  "a", "A", "ab", "Ab", "AB", "a-b", "a.b", "a.b.c", "a-b-c", "ab-", "a.", ".a", "-",
  "a?b", "a#b", "a\u2028b", " ", "\u00e4", "\u00c4", "$~@!", "...", "a%2fb", "a;b",
];

const three = (list) => `/${choose(list)}/${choose(list)}/${choose(list)}`;
const unique = (list) => [...new Set(list)];
const patterns = unique([
  "/", ...parts.map((part) => `/${part}`), "/a/",
  ...combine(parts.slice(0, 8), parts.slice(0, 8)),
  ...Array.from({ length: 25 }, () => `/${choose(parts)}/${choose(parts)}`),
  ...Array.from({ length: 40 }, () => three(parts)),
]);
const plain = [
  ...values.map((value) => `/${value}`),
  ...combine(["a", "Ab", "b"], ["a", "ab", "a.b"]),
  ...Array.from({ length: 25 }, () => `/${choose(values)}/${choose(values)}`),
  ...Array.from({ length: 25 }, () => three(values)),
  "/a/b/a/b/a", "/ab/ab/ab/ab",
];
const paths = unique(["/", ...plain, ...plain.filter((_, i) => i % 3 === 0).map((p) => `${p}/`)]);

// `(.*)` takes line ends too, and a parameter everything but a slash.
const compile = (pattern, options) => {
  const tokens = parse(pattern, { delimiter: "/" }).map((token) =>
    typeof token === "string" || token.pattern === ".*" ? token : { ...token, pattern: "[^\\/]+?" },
  );
  return dotAll(tokensToRegexp(tokens, undefined, { delimiter: "/", ...options }));
};
const dotAll = (regexp) => new RegExp(regexp.source, `${regexp.flags}s`);
const bits = (list, test) => list.map((each) => (test(each) ? "1" : "0")).join("");

let narrower = 0;
const rows = patterns.flatMap((pattern) => {
  let exact;
  try {
    exact = compile(pattern, { sensitive: true, strict: true });
  } catch {
    return [];
  }
  const lenient = compile(pattern, { sensitive: false, strict: false });
  const untouched = dotAll(pathToRegexp(pattern, [], { sensitive: true, strict: true, delimiter: "/" }));
  narrower += paths.filter((path) => exact.test(path) !== untouched.test(path)).length;
  const withSlash = (path) => (path.endsWith("/") ? path : `${path}/`);
  return [{
    pattern,
    exact: bits(paths, (path) => exact.test(path)),
    lenient: bits(paths, (path) => lenient.test(withSlash(path))),
  }];
});

const refused = [
  "/a*", "/a+", "/a?", "/*", "/a/*", "/:", "/a/:", "/a:", "/:x:y", "/:x*:y", "/a:x*",
  "/a:x+", "/(", "/(.*", "/((.*))", "/()", "/{", "/{a", "/(?:a)", "/:x**",
];
const accepted = [
  "/\\:a", "/{a}", "/{/:x}?", "/:x(\\d+)", "/(\\d+)", "/(a|b)", "/:x([^/]+)", "/(.*)?",
  "/(.*)*", "/:x(.*)?", "/(.*)(.*)", "/:x*(.*)", "a", "(.*)", ":x", "/((?!a).*)", "/)", "/}",
  "/<x>", "/<int:x>/a", "/[x]", "/[...x]", "^/a", "/^a", "/a$", "/a|/b", "/a#b",
];
const takes = (pattern) => {
  try {
    pathToRegexp(pattern);
    return true;
  } catch {
    return false;
  }
};
const beyond = Object.fromEntries([...refused, ...accepted].map((p) => [p, takes(p)]));

process.stderr.write(`${rows.length} patterns, ${paths.length} paths, narrower in ${narrower}\n`);
const lines = (list) => list.map((each) => `    ${JSON.stringify(each)}`).join(",\n");
process.stdout.write(`{
  "versions": {"node": "${process.version.slice(1)}", "path-to-regexp": "${version}"},
  "paths": ${JSON.stringify(paths)},
  "patterns": [
${lines(rows)}
  ],
  "refused_here": ${JSON.stringify(beyond, null, 2).replaceAll("\n", "\n  ")}
}
`);
