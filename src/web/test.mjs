/** Runs the unit tests: bundled one by one (node 20 does not read TypeScript), then given to node's own test runner. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const out = await mkdtemp(path.join(tmpdir(), 'skywave-web-test-'));
try {
  const tests = (await readdir(path.join(here, 'test'))).filter((name) => name.endsWith('.test.ts'));
  await esbuild.build({
    absWorkingDir: here,
    entryPoints: tests.map((name) => path.join('test', name)),
    bundle: true,
    platform: 'node',
    format: 'esm',
    sourcemap: 'inline',
    outExtension: { '.js': '.mjs' },
    outdir: out,
    logLevel: 'warning',
  });
  const files = tests.map((name) => path.join(out, name.replace(/\.ts$/, '.mjs')));
  const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...files], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
