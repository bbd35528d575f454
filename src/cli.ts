import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { failureText, UsageError } from './commands/failure.ts';

/** Exit codes: 0 done, 1 failed, or what was looked for is not so, 2 called wrongly. */
const FAILED = 1;
const CALLED_WRONGLY = 2;

const SETTINGS = 'Reads the same settings as the server: see README, Settings.';
const JSON_OPTION = ['--json', 'print JSON for programs, and nothing else, on standard output'] as const;
const UNIT_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The commands as people see them. What each does is in `commands/`, loaded when it is run. */
function program(): Command {
  const latchkey = new Command('latchkey')
    .description("Holds the keys to your users' third-party accounts.")
    .version(version(), '-V, --version', 'print the version')
    .exitOverride()
    .showHelpAfterError('(--help says more)')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', examples(['latchkey serve', 'latchkey migrate --check', 'latchkey keys status --json']))
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 called wrongly.');
  addServe(latchkey);
  addMigrate(latchkey);
  addKeys(latchkey);
  addApiKey(latchkey);
  addAudit(latchkey);
  addImport(latchkey);
  addDemo(latchkey);
  return latchkey;
}

function addServe(latchkey: Command): void {
  latchkey
    .command('serve')
    .description('start the server; SIGTERM and SIGINT end it, with its calls in flight')
    .addHelpText('after', examples(['latchkey serve', 'WORKERS=4 HTTP_PORT=8443 latchkey serve']))
    .addHelpText(
      'after',
      environment({
        DATABASE_URL: 'PostgreSQL; unset: an embedded one in LATCHKEY_DATA_DIR',
        LATCHKEY_MASTER_KEY: '32 bytes in base64; unset: a file in LATCHKEY_DATA_DIR',
        LATCHKEY_ADMIN_KEY: "the operator's key; unset: made at the first start and shown once",
        'GRPC_PORT, HTTP_PORT': 'ports, 50051 and 8080',
        NODE_ENV: 'production: nothing is made up, and what is missing is refused',
      }),
    )
    .addHelpText('after', '\nREADME, Settings, has them all.')
    .action(async () => (await import('./commands/serve.ts')).serve());
}

function addMigrate(latchkey: Command): void {
  latchkey
    .command('migrate')
    .description('bring the tables up to date, and nothing else; `serve` does so by itself')
    .option('--check', 'change nothing; end with 1 where migrations are due')
    .option(...JSON_OPTION)
    .addHelpText('after', examples(['latchkey migrate', 'latchkey migrate --check || echo due']))
    .addHelpText(
      'after',
      environment({
        DATABASE_URL: 'PostgreSQL; unset: the embedded one in LATCHKEY_DATA_DIR',
        DATABASE_MIGRATION_URL: 'login that owns the tables; unset: that of DATABASE_URL',
      }),
    )
    .action(async (options) => (await import('./commands/migrate.ts')).migrate(options));
}

function addKeys(latchkey: Command): void {
  const keys = latchkey.command('keys').description('the master key: who knows which, and its rotation');
  keys
    .command('status')
    .description('print the master key in force, those configured here, and what each live replica knows')
    .option(...JSON_OPTION)
    .addHelpText('after', examples(['latchkey keys status --json']))
    .addHelpText('after', `\n${SETTINGS}`)
    .action(async (options) => (await import('./commands/keys.ts')).status(options));
  keys
    .command('rotate')
    .description('put LATCHKEY_MASTER_KEY in force: wrap and seal everything anew, while calls go on')
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      examples(['LATCHKEY_MASTER_KEY=<new> LATCHKEY_PREVIOUS_MASTER_KEY=<old> latchkey keys rotate']),
    )
    .addHelpText('after', `\nEnds with 1 where values do not open, which then stay as they are.\n${SETTINGS}`)
    .action(async (options) => (await import('./commands/keys.ts')).rotate(options));
}

function addApiKey(latchkey: Command): void {
  const apikey = latchkey
    .command('apikey')
    .description('API keys, made by whoever has the database and the master key');
  apikey
    .command('create')
    .description('make an API key and print its text, this once')
    .requiredOption('--name <name>', 'what it is for, for people', keyName)
    .requiredOption('--scopes <scopes>', 'permissions, noun:* or *, separated by commas; may be repeated', addItems)
    .option('--tenant <id>', 'the tenant that it belongs to', 'default')
    .option('--project <id>', 'a project that it is limited to; may be repeated', addProject)
    .option(
      '--expires <when>',
      'as 90d, 12h or 30m from now, or as 2027-01-31 or a whole timestamp; unset: never',
      moment,
    )
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      examples([
        "latchkey apikey create --name ci --scopes 'connection:read,credential:read' --expires 90d",
        "LATCHKEY_KEY=$(latchkey apikey create --tenant acme --name admin --scopes '*')",
      ]),
    )
    .addHelpText('after', `\n${SETTINGS}`)
    .action(async (options) => (await import('./commands/apikey.ts')).createKey(options));
}

function addAudit(latchkey: Command): void {
  const audit = latchkey.command('audit').description('proof of the audit log');
  audit
    .command('verify')
    .description('prove the log of each tenant, and name what was altered, removed, inserted or reordered')
    .option('--tenant <id>', 'of this tenant alone')
    .option('--head <head>', 'the log still has what it had when this head was printed; may be repeated', addHead)
    .option(...JSON_OPTION)
    .addHelpText('after', examples(['latchkey audit verify', 'latchkey audit verify --head "$(cat kept-head)"']))
    .addHelpText('after', `\nEnds with 1 where something is amiss.\n${SETTINGS}`)
    .action(async (options) => (await import('./commands/audit.ts')).verify(options));
  audit
    .command('head')
    .description('print where each log ends, as tenant:sequence:hash; kept elsewhere, it shows that an end was cut off')
    .option('--tenant <id>', 'of this tenant alone')
    .option(...JSON_OPTION)
    .addHelpText('after', examples(['latchkey audit head --tenant acme > kept-head']))
    .addHelpText('after', `\n${SETTINGS}`)
    .action(async (options) => (await import('./commands/audit.ts')).printHeads(options));
}

function addImport(latchkey: Command): void {
  latchkey
    .command('import')
    .description("import connections of VaultLogic's Integrations Hub through a running server: all of them, or none")
    .argument('<file>', 'JSON: a list, or an object with lists as `connections` and `externalConnections`')
    .option('--dry-run', 'say what is wrong with each, and write nothing')
    .option('--skip-taken', 'pass over those whose names are taken, so that it can be repeated')
    .option('--project <id>', 'the project that they belong to', '')
    .option(...JSON_OPTION)
    .addHelpText('after', examples(['latchkey import connections.json --dry-run']))
    .addHelpText('after', client())
    .action(async (file, options) => (await import('./commands/import.ts')).importFile(file, options));
}

function addDemo(latchkey: Command): void {
  latchkey
    .command('demo')
    .description('connect an account of the sandbox of a running server, as an application and a person would')
    .option(...JSON_OPTION)
    .addHelpText('after', examples(['LATCHKEY_KEY=lk_… latchkey demo']))
    .addHelpText('after', client())
    .action(async (options) => (await import('./commands/demo.ts')).demo(options));
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}

function examples(lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

function environment(settings: Record<string, string>): string {
  const width = Math.max(...Object.keys(settings).map((name) => name.length)) + 2;
  const lines = Object.entries(settings).map(([name, meaning]) => `  ${name.padEnd(width)}${meaning}`);
  return `\nEnvironment:\n${lines.join('\n')}`;
}

function client(): string {
  return environment({
    LATCHKEY_KEY: 'an API key of the server',
    LATCHKEY_URL: 'its HTTP port; unset: http://localhost:8080',
  });
}

function keyName(text: string): string {
  if (/^[^\p{Cc}]{1,255}$/u.test(text)) return text;
  throw new InvalidArgumentError('It must have 1 to 255 characters, none of them a control character.');
}

function addItems(text: string, before: string[] = []): string[] {
  const items = text.split(',').map((item) => item.trim());
  return [...new Set([...before, ...items.filter((item) => item !== '')])];
}

function addProject(text: string, before: string[] = []): string[] {
  if (/^.{1,100}$/u.test(text)) return [...new Set([...before, text])];
  throw new InvalidArgumentError('It must have 1 to 100 characters.');
}

function addHead(text: string, before: string[] = []): string[] {
  return [...before, text];
}

function moment(text: string): Date {
  const [, count = '', unit = ''] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const date = unit ? new Date(Date.now() + Number(count) * UNIT_MS[unit]!) : new Date(text);
  if (/^\d/.test(text) && !Number.isNaN(date.getTime())) return date;
  throw new InvalidArgumentError('It is as 90d, 12h, 30m, 2027-01-31 or 2027-01-31T12:00:00Z.');
}

try {
  await program().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : CALLED_WRONGLY;
  else {
    process.stderr.write(`${failureText(error)}\n`);
    process.exitCode = error instanceof UsageError ? CALLED_WRONGLY : FAILED;
  }
}
