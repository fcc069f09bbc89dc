// Seals and unseals with the JavaScript libraries.
// In (stdin): a JSON list of [library, "seal" | "unseal", input, options].
// Out (stdout): a JSON list of {"ok": result} or {"error": message}, in the same order.

import { text } from "node:stream/consumers";
import { sessionEncryption } from "@workos/authkit-session";
import { sealData, unsealData } from "iron-session";

const libraries = {
  "iron-session": { seal: sealData, unseal: unsealData },
  "authkit-session": {
    seal: (value, options) => sessionEncryption.sealData(value, options),
    unseal: (sealed, options) => sessionEncryption.unsealData(sealed, options),
  },
};

async function run([library, operation, input, options]) {
  try {
    return { ok: await libraries[library][operation](input, options) };
  } catch (error) {
    return { error: error.message };
  }
}

const jobs = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(await Promise.all(jobs.map(run))));
