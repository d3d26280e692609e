/**
 * Builds the pages into dist/ (or the folder given as the first argument): html files, and everything else under
 * assets/ with a hash of its content in its name, so that it may be cached for ever.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2] ?? path.join(here, 'dist'));
const PAGES = ['index', 'publish', 'watch'];

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  metafile: true,
  // Everything with WebRTC simulcast, AbortSignal.timeout and CSS that these pages use is at least this new.
  target: ['chrome109', 'firefox115', 'safari16'],
  outdir: path.join(out, 'assets'),
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  legalComments: 'none',
  logLevel: 'warning',
};

/** The public address of the output made from an entry point. */
function addressOf(result, entry) {
  const found = Object.entries(result.metafile.outputs).find(([, output]) => output.entryPoint === entry);
  if (found === undefined) throw new Error(`no output for ${entry}`);
  return `/assets/${path.basename(found[0])}`;
}

async function writeHashed(name, content) {
  const { name: stem, ext } = path.parse(name);
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 8).toUpperCase();
  const file = `${stem}-${hash}${ext}`;
  await writeFile(path.join(out, 'assets', file), content);
  return `/assets/${file}`;
}

/** Replaces `{{name}}`; a name without a value is an error. */
function fill(template, values) {
  return template.replace(/\{\{(\w+)\}\}/g, (_, name) => {
    if (values[name] === undefined) throw new Error(`nothing for {{${name}}}`);
    return values[name];
  });
}

const fragment = (name) => readFile(path.join(here, 'pages', `${name}.html`), 'utf8');

await rm(out, { recursive: true, force: true });
await mkdir(path.join(out, 'assets'), { recursive: true });

const worker = await esbuild.build({ ...common, entryPoints: ['app/publish/ticker.ts'], format: 'iife' });
const styles = await esbuild.build({ ...common, entryPoints: ['css/style.css'] });
const scripts = await esbuild.build({
  ...common,
  entryPoints: PAGES.map((page) => `app/${page}.ts`),
  format: 'esm',
  splitting: true,
  define: { TICKER_URL: JSON.stringify(addressOf(worker, 'app/publish/ticker.ts')) },
});

const hlsLicence = await readFile(path.join(here, 'node_modules/hls.js/LICENSE'), 'utf8');
const licences = await writeHashed(
  'licences.txt',
  `Skywave's own pages: MIT or Apache-2.0.\n\nThey contain hls.js, under this licence:\n\n${hlsLicence}`,
);
const icon = await writeHashed('favicon.svg', await readFile(path.join(here, 'icons/favicon.svg')));
const style = addressOf(styles, 'css/style.css');

const NAV = {
  index: '',
  publish: '<nav aria-label="Pages"><a href="/">On air</a></nav>',
  watch: '<nav aria-label="Pages"><a href="/">On air</a></nav>',
};
const [head, top, foot] = await Promise.all(['head', 'top', 'foot'].map(fragment));
for (const page of PAGES) {
  const script = addressOf(scripts, `app/${page}.ts`);
  const html = fill(await fragment(page), {
    head: fill(head, { icon, style, script }),
    top: fill(top, { nav: NAV[page] }),
    foot: fill(foot, { licences }),
  });
  await writeFile(path.join(out, `${page}.html`), html);
}
