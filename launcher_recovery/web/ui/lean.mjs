// What makes the scripts small: words without their long keys, templates without their indentation, and of the
// connection's client only what these pages use.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * A plugin for our own files. Keys of words that no source puts together from parts become short; other languages are given
 * in the order of English, and need no keys.
 */
export function packed(folder, english, sources) {
  const prefixes = new Set(sources.flatMap((text) => [...text.matchAll(/`([\w.]+\.)\$\{/g)].map(([, prefix]) => prefix)));
  const keys = Object.keys(english);
  const isFixed = (key) => key.includes(".") && ![...prefixes].some((prefix) => key.startsWith(prefix));
  const short = new Map(keys.filter(isFixed).map((key, i) => [key, `_${i.toString(36)}`]));
  const shortened = (text) => text.replace(/"([\w.]+)"/g, (all, key) => (short.has(key) ? `"${short.get(key)}"` : all));
  return {
    name: "packed",
    setup({ onLoad }) {
      onLoad({ filter: /\.js$/ }, async ({ path }) => {
        if (!path.startsWith(join(folder, "/"))) return undefined;
        return { contents: shortened(await readFile(path, "utf8")).replace(/\n\s*(?=[<$])/g, "\n"), loader: "js" };
      });
      onLoad({ filter: /words.\w+\.json$/ }, async ({ path }) => {
        const words = JSON.parse(await readFile(path, "utf8"));
        const own = path.endsWith("en.json") ? Object.fromEntries(keys.map((key) => [short.get(key) ?? key, words[key]])) : keys.map((key) => words[key]);
        return { contents: JSON.stringify(own), loader: "json" };
      });
    },
  };
}

// Binary messages and WebTransport, neither of which the server has.
const UNUSED = {
  "engine.io-client/build/esm/transports/webtransport.js": "export const WT = undefined;",
  "engine.io-parser/build/esm/contrib/base64-arraybuffer.js": "export const encode = undefined, decode = undefined;",
};

export const lean = {
  name: "lean",
  setup({ onLoad }) {
    for (const [file, contents] of Object.entries(UNUSED)) {
      onLoad({ filter: new RegExp(`node_modules/${file.replaceAll(".", "\\.")}$`) }, () => ({ contents, loader: "js" }));
    }
  },
};
