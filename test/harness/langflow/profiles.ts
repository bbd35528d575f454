export type LangflowVersion = '1.0' | '1.6' | '1.7' | '1.8' | '1.11' | '1.13';

/** In what versions of Langflow differ. */
type Traits = {
  /** What it calls itself. */
  release: string;
  /** Whose words it uses to refuse a credential, and whether it takes the access cookie for one; pluggable since #10702. */
  auth: 'built-in' | 'pluggable';
  /** Who may create users: anybody, superusers (#10977), or anybody as long as `enableSignUp` is on (#13706). */
  signUp: 'open' | 'superuser' | 'setting';
  /** What an API's 404 becomes where the frontend is mounted: its page with status 200, until #11760. */
  notFound: 'page' | 'json';
  /** All flows at once come gzipped, whatever the client accepts (#7200). */
  gzipsFlows: boolean;
  pagesFlows: boolean;
  /** Examples are among everybody's flows. */
  listsExamples: boolean;
  upsertsFlows: boolean;
  searchesUsers: boolean;
  /** Logins of one address in a minute, those that succeed included (#13469). */
  loginsPerMinute: number | null;
  /** So many requests that look for what was just created do not find it: answers came before the commit, until #15078. */
  commitLag: number;
  /** The password `langflow` opens nothing (#13822). */
  refusesLegacyPassword: boolean;
  /** An access token is no refresh token, nor the other way round (#10840). */
  checksTokenType: boolean;
  /** Only its owner can delete an API key (#11196). */
  checksKeyOwner: boolean;
  /** API keys are encrypted with the secret key, and die with it (#11335). */
  sealsKeys: boolean;
  /** LANGFLOW_API_KEY can be the superuser's key. */
  takesEnvironmentKey: boolean;
  autoLoginOff: { status: number; message: string };
  refreshCookie: 'SameSite=none; Secure' | 'SameSite=lax';
  accessCookie: 'SameSite=lax' | 'HttpOnly; SameSite=lax';
  /** A body of a run that is not as it should be is refused, or the run goes on without it (#9783). */
  runBody: 'validated' | 'ignored';
  /** Any key runs any flow, until #10306. */
  runsForeignFlows: boolean;
  streamsRuns: boolean;
  /** A streamed run that fails ends in an event that says so; else the stream just ends, as seen in 1.7.3. */
  tellsFailedStreams: boolean;
};

/** What the operator of a Langflow sets, or meets with. */
type Settings = {
  /** Mounted at `/`; else it runs with `--backend-only`. */
  frontend: boolean;
  enableSignUp: boolean;
  newUserIsActive: boolean;
  accessTokenS: number;
  refreshTokenS: number;
  /** LANGFLOW_TWEAKS_POLICY is such that any tweak is refused. */
  refusesTweaks: boolean;
  /** What /health_check finds. */
  healthy: boolean;
  /** Connections are reset, or a proxy answers this status in its place. */
  down: boolean | number;
};

export type Switches = Traits & Settings;

const SETTINGS: Settings = {
  frontend: true,
  enableSignUp: true,
  newUserIsActive: false,
  accessTokenS: 3600,
  refreshTokenS: 604_800,
  refusesTweaks: false,
  healthy: true,
  down: false,
};

const V1_0: Traits = {
  release: '1.0.19',
  auth: 'built-in',
  signUp: 'open',
  notFound: 'page',
  gzipsFlows: false,
  pagesFlows: false,
  listsExamples: true,
  upsertsFlows: false,
  searchesUsers: false,
  loginsPerMinute: null,
  commitLag: 0,
  refusesLegacyPassword: false,
  checksTokenType: false,
  checksKeyOwner: false,
  sealsKeys: false,
  takesEnvironmentKey: false,
  autoLoginOff: { status: 400, message: 'Auto login is disabled. Please enable it in the settings' },
  refreshCookie: 'SameSite=none; Secure',
  accessCookie: 'SameSite=lax',
  runBody: 'validated',
  runsForeignFlows: true,
  streamsRuns: false,
  tellsFailedStreams: false,
};

const V1_6: Traits = {
  ...V1_0,
  release: '1.6.0',
  gzipsFlows: true,
  pagesFlows: true,
  listsExamples: false,
  runBody: 'ignored',
  streamsRuns: true,
};

const V1_7: Traits = {
  ...V1_6,
  release: '1.7.0',
  signUp: 'superuser',
  commitLag: 1,
  checksTokenType: true,
  takesEnvironmentKey: true,
  runsForeignFlows: false,
};

const V1_8: Traits = {
  ...V1_7,
  release: '1.8.0',
  auth: 'pluggable',
  signUp: 'open',
  upsertsFlows: true,
  checksKeyOwner: true,
  sealsKeys: true,
  tellsFailedStreams: true,
  autoLoginOff: { status: 403, message: 'Auto login is disabled.' },
};

const V1_11: Traits = {
  ...V1_8,
  release: '1.11.0',
  signUp: 'setting',
  notFound: 'json',
  searchesUsers: true,
  loginsPerMinute: 5,
  refusesLegacyPassword: true,
};

const V1_13: Traits = {
  ...V1_11,
  release: '1.13.0',
  commitLag: 0,
  refreshCookie: 'SameSite=lax',
  accessCookie: 'HttpOnly; SameSite=lax',
};

const TRAITS: Record<LangflowVersion, Traits> = {
  '1.0': V1_0,
  '1.6': V1_6,
  '1.7': V1_7,
  '1.8': V1_8,
  '1.11': V1_11,
  '1.13': V1_13,
};

export function profileOf(version: LangflowVersion): Switches {
  return { ...SETTINGS, ...TRAITS[version] };
}
