// `npm run docs`: builds the documentation as a site into docs/.vitepress/dist. `npm run docs -- --dev` serves it, and follows changes.
// The reference of the packages' exports comes first, from their sources into docs/api.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Application, LogLevel } from 'typedoc';
import { build, createServer } from 'vitepress';
import { root } from './setup.mjs';

await apiReference();
if (process.argv.includes('--dev')) {
  const server = await createServer(join(root, 'docs'));
  await server.listen();
  server.printUrls();
} else {
  await build(join(root, 'docs'));
}

/** Writes docs/api: a page for each entry of a package. @throws if a comment or an export is wrong, after reporting it */
async function apiReference() {
  const tsconfig = join(root, 'tsconfig.json');
  const { paths } = JSON.parse(readFileSync(tsconfig, 'utf8')).compilerOptions;
  const entries = Object.entries(paths).filter(([name]) => !name.startsWith('@wpo/internal'));
  const app = await Application.bootstrapWithPlugins({
    ...{ tsconfig, entryPoints: entries.map(([, [path]]) => join(root, path)), out: join(root, 'docs/api') },
    ...{
      plugin: ['typedoc-plugin-markdown'],
      basePath: root,
      readme: 'none',
      entryFileName: 'index',
      router: 'module',
    },
    ...{
      hidePageHeader: true,
      hideBreadcrumbs: true,
      useHTMLAnchors: true,
      sanitizeComments: true,
      useCodeBlocks: true,
    },
    ...{ parametersFormat: 'table', interfacePropertiesFormat: 'table', typeDeclarationFormat: 'table' },
    ...{ classPropertiesFormat: 'table', propertyMembersFormat: 'table' },
    ...{ skipErrorChecking: true, excludeInternal: true, disableSources: true, logLevel: LogLevel.Warn },
  });
  const project = await app.convert();
  if (project === undefined) throw new Error('typedoc could not read the packages: see above.');
  project.name = 'API';
  for (const module of project.children) {
    const [name] = entries.find(([, [path]]) => path.replace(/^\.\/|(\/index)?\.ts$/g, '') === module.name);
    module.name = name;
  }
  for (const name of new Set(entries.map(([entry]) => entry.split('/').slice(0, 2).join('/')))) {
    project.packageName = name; // whose exports are checked: it must export the types in their signatures
    app.validate(project);
  }
  await app.generateOutputs(project);
  if (app.logger.hasErrors() || app.logger.hasWarnings()) {
    throw new Error(
      'The reference of the packages has warnings, see above. Correct the comments or the exports that they name.',
    );
  }
}
