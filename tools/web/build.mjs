/**
 * Makes the one file that applications take from the modules in `web/client/`:
 *
 *     cd tools/web && npm ci && npm run build
 *
 * `DatabaseInventoryService.js`, `.cjs` for CommonJS test runners, and `.d.ts`. Another directory
 * may be named in place of the one that the package serves.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const WEB = resolve(HERE, '../../src/expresso_persist/web');
const NAME = 'DatabaseInventoryService';
const HEAD = '/* eslint-disable */\n// Made from client/*.js; edit those.';

const output = resolve(process.argv[2] ?? WEB);
const common = {
  absWorkingDir: WEB, // the comments then name no path of this machine
  entryPoints: ['client/index.js'],
  bundle: true,
  charset: 'utf8',
  target: 'es2022',
  banner: { js: HEAD },
  external: ['./secrets.js'],
  logLevel: 'warning',
};
await make('js', { format: 'esm' });
await make('cjs', { format: 'cjs', define: { 'import.meta.url': '""' } });
writeFileSync(join(output, `${NAME}.d.ts`), declarations());

/** @param {string} ending @param {object} options */
async function make(ending, options) {
  const outfile = join(WEB, `${NAME}.${ending}`); // imports are written relative to it
  const { outputFiles } = await build({ ...common, ...options, outfile, write: false });
  writeFileSync(join(output, `${NAME}.${ending}`), outputFiles[0].text);
}

/** @returns {string} what applications see of the types, as one file */
function declarations() {
  const directory = mkdtempSync(join(tmpdir(), 'web-client-'));
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript')), 'tsc.js');
  const emit = ['--declaration', '--emitDeclarationOnly', '--noEmit', 'false', '--noCheck'];
  const project = join(WEB, 'tsconfig.json');
  try {
    execFileSync(
      process.execPath,
      [tsc, '--project', project, '--rootDir', WEB, '--outDir', directory, ...emit],
      { stdio: 'inherit' },
    );
    const parts = ['types', 'errors', 'control', 'reading', 'writing', 'service', 'index'];
    const texts = parts.map((name) => readFileSync(join(directory, 'client', `${name}.d.ts`), 'utf8'));
    const text = texts
      .join('\n')
      .replace(/^(import|export \{|\/\*\* @import).*\n/gm, '')
      .replace(/import\("\.\/\w+\.js"\)\./g, '')
      // What applications cannot make themselves: the classes below the service.
      .replace(/^export (class (?:LiveControl|Reading|Writing) )/gm, 'declare $1')
      .replace(/^.*@param \{Connection\}.*\n.*\bconstructor\(.*\n/gm, '');
    return `${HEAD}\n${text}`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
