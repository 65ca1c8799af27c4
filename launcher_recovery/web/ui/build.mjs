// Builds ../static from src: scripts and style in few files, with hashes in their names, that a browser may keep for good.
// What comes out is the same on every machine, so that it can be compared with what is committed.

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = join(HERE, "..", "static");

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

const { metafile } = await build({
  absWorkingDir: HERE,
  entryPoints: { recovery: "src/recovery.js", style: "src/recovery.css", banner: "src/banner.js" },
  outdir: OUT,
  write: false,
  metafile: true,
  bundle: true,
  splitting: true,
  format: "esm",
  minify: true,
  charset: "utf8",
  target: "es2022",
  legalComments: "none",
  entryNames: "assets/[name]-[hash]",
  chunkNames: "assets/[name]-[hash]",
}).then(async (result) => {
  await rm(OUT, { recursive: true, force: true });
  await mkdir(join(OUT, "assets"), { recursive: true });
  await Promise.all(result.outputFiles.map(({ path, contents }) => writeFile(path, contents)));
  return result;
});

// Entry → its file, and the files that it needs from the start.
const manifest = {};
for (const [path, { entryPoint, imports }] of Object.entries(metafile.outputs)) {
  if (!entryPoint || !/^src\/(recovery|banner)\./.test(entryPoint)) continue;
  const name = (file) => relative(OUT, join(HERE, file));
  const needed = imports.filter(({ kind }) => kind === "import-statement").map((one) => name(one.path));
  manifest[entryPoint.slice("src/".length)] = { file: name(path), imports: needed.sort() };
}
const sorted = Object.fromEntries(Object.entries(manifest).sort());
await writeFile(join(OUT, "manifest.json"), `${JSON.stringify(sorted, null, 2)}\n`);

const page = await readFile(join(HERE, "src", "index.html"), "utf8");
const script = manifest["recovery.js"];
const filled = page
  .replace("%style%", manifest["recovery.css"].file)
  .replace("%script%", script.file)
  .replace("%preload%", script.imports.map((file) => `\n  <link rel="modulepreload" href="${file}">`).join(""));
await writeFile(join(OUT, "index.html"), filled);
// Under a name that stays, because pages of the launcher that a browser has kept name it.
await writeFile(join(OUT, "banner.js"), `import "./${manifest["banner.js"].file}";\n`);
await writeFile(join(OUT, "LICENSES.txt"), await licences(Object.keys(metafile.inputs)));
