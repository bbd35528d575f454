import { anthropic } from './anthropic.ts';
import { awsS3 } from './aws-s3.ts';
import { bexio } from './bexio.ts';
import { clio } from './clio.ts';
import { clioPlatform } from './clio-platform.ts';
import { ftp } from './ftp.ts';
import { github } from './github.ts';
import { githubApp } from './github-app.ts';
import { google } from './google.ts';
import { http } from './http.ts';
import { hubspot } from './hubspot.ts';
import { jira } from './jira.ts';
import { langflow } from './langflow/langflow.ts';
import { microsoft } from './microsoft.ts';
import { notion } from './notion.ts';
import { openai } from './openai.ts';
import { quickbooks } from './quickbooks.ts';
import { salesforce } from './salesforce.ts';
import { slack } from './slack.ts';
import { smtp } from './smtp.ts';
import { stripe } from './stripe.ts';
import { stripeApps } from './stripe-apps.ts';
import { twilio } from './twilio.ts';
import type { ProviderDefinition } from './types.ts';

const entries: readonly ProviderDefinition[] = [
  anthropic,
  awsS3,
  bexio,
  clio,
  clioPlatform,
  ftp,
  github,
  githubApp,
  google,
  http,
  hubspot,
  jira,
  langflow,
  microsoft,
  notion,
  openai,
  quickbooks,
  salesforce,
  slack,
  smtp,
  stripe,
  stripeApps,
  twilio,
];

/** The built-in providers by name, in alphabetical order. */
export const catalog: ReadonlyMap<string, ProviderDefinition> = new Map(entries.map((entry) => [entry.name, entry]));
