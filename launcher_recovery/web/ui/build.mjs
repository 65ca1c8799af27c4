// Builds ../static from src: scripts and style in few files, with hashes in their names, that a browser may keep for good.
// What comes out is the same on every machine, so that it can be compared with what is committed.

import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { lean, packed } from "./lean.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCES = join(HERE, "src");
const OUT = join(HERE, "..", "static");
const STYLES = { style: "src/page/page.css", guest: "src/banner/guest.css" };
const SCRIPTS = { recovery: "src/page/main.js", banner: "src/banner/banner.js" };

/** The package that a bundled file is of, or undefined for our own: "node_modules/@a/b/c.js" → "@a/b". */
const packageOf = (file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1];

async function licences(files) {
  const names = [...new Set(files.map(packageOf).filter(Boolean))].sort();
  const texts = await Promise.all(names.map(async (name) => {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const text = await readFile(join(folder, "LICENSE"), "utf8");
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  }));
  return `These scripts contain the following packages.\n\n${texts.join("\n----\n\n")}`;
}

const files = (await readdir(SOURCES, { recursive: true })).filter((file) => file.endsWith(".js")).sort();
const sources = await Promise.all(files.map((file) => readFile(join(SOURCES, file), "utf8")));
const english = JSON.parse(await readFile(join(SOURCES, "words", "en.json"), "utf8"));

const options = {
  absWorkingDir: HERE,
  outdir: OUT,
  write: false,
  metafile: true,
  bundle: true,
  minify: true,
  charset: "utf8",
  target: "es2022",
  legalComments: "none",
  entryNames: "assets/[name]-[hash]",
  chunkNames: "assets/[name]-[hash]",
};
const styles = await build({ ...options, entryPoints: STYLES });
const manifest = {}; // entry → its file, and the files that it needs from the start
enter(STYLES, styles);
const scripts = await build({
  ...options,
  entryPoints: SCRIPTS,
  plugins: [packed(SOURCES, english, sources), lean],
  define: { GUEST_STYLE: JSON.stringify(manifest.guest.file) },
  splitting: true,
  format: "esm",
});
enter(SCRIPTS, scripts);

function enter(entries, { metafile }) {
  const nameOf = (file) => relative(OUT, join(HERE, file));
  for (const [path, { entryPoint, imports }] of Object.entries(metafile.outputs)) {
    const entry = Object.keys(entries).find((name) => entries[name] === entryPoint);
    if (!entry) continue;
    const needed = imports.filter(({ kind }) => kind === "import-statement").map((one) => nameOf(one.path));
    manifest[entry] = { file: nameOf(path), imports: needed.sort() };
  }
}

await rm(OUT, { recursive: true, force: true });
await mkdir(join(OUT, "assets"), { recursive: true });
await Promise.all([...styles.outputFiles, ...scripts.outputFiles].map(({ path, contents }) => writeFile(path, contents)));
const sorted = Object.fromEntries(Object.entries(manifest).sort());
await writeFile(join(OUT, "manifest.json"), `${JSON.stringify(sorted, null, 2)}\n`);

const page = await readFile(join(SOURCES, "index.html"), "utf8");
const script = manifest.recovery;
const filled = page
  .replace("%style%", manifest.style.file)
  .replace("%script%", script.file)
  .replace("%preload%", script.imports.map((file) => `\n  <link rel="modulepreload" href="${file}">`).join(""));
await writeFile(join(OUT, "index.html"), filled);
// Under a name that stays, because pages of the launcher that a browser has kept name it.
await writeFile(join(OUT, "banner.js"), `import "./${manifest.banner.file}";\n`);
await writeFile(join(OUT, "LICENSES.txt"), await licences(Object.keys(scripts.metafile.inputs)));
