// Runs a bundle of test/engine.ts in node as if it were a page: node run.mjs BUNDLE FOLDER ASKED ANSWERS
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [bundle, folder, asked, answers] = process.argv.slice(2);
globalThis.window = globalThis;
globalThis.location = { protocol: "http:", hash: "" };
globalThis.fetch = async (address) => {
  const path = join(folder, decodeURIComponent(address));
  return { ok: true, status: 200, text: async () => readFileSync(path, "utf8") };
};
const { answer } = await import(pathToFileURL(bundle).href);
writeFileSync(answers, JSON.stringify(await answer(JSON.parse(readFileSync(asked, "utf8")))));
