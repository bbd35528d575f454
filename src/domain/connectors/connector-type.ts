import type { Em } from '../../db/transaction.ts';
import type { Connector } from '../../model/connector.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';
import type { Call } from '../call.ts';

export type ValueType = 'string' | 'number' | 'integer' | 'boolean' | 'object' | 'list';

/** A value that a connector takes. It is checked by this, and told to callers by this. */
export type Input = {
  name: string;
  types: readonly ValueType[];
  description: string;
  required?: true;
  default?: JsonValue;
  /** Of a text. */
  choices?: readonly string[];
  /** Of a number. */
  minimum?: number;
  maximum?: number;
  /** Characters of a text; default 4096. */
  maxLength?: number;
  /** Items of a list, or members of an object; default 1000. */
  maxItems?: number;
  /** What the items of a list, or the values of an object, are; default anything. */
  items?: readonly ValueType[];
  /** A password, or what may hold one: never part of a connector's config. */
  sensitive?: true;
  /** It is the id of a connection. */
  connection?: true;
  /** How a variable is written into the text, so that it stays what it is within it. */
  escape?: (text: string) => string;
};

export type Command = { name: string; description: string; inputs: readonly Input[] };

/** What a command did. A failure of the other side is a result, too. */
export type ConnectorResult = { success: boolean; data?: JsonObject; error?: string };

/** What a command is executed with. */
export type ConnectorContext = {
  call: Call;
  connector: Connector;
  command: string;
  /** Values of the type's settings: checked, with variables and defaults filled in. */
  config: JsonObject;
  /** The same of the command's inputs. */
  inputs: JsonObject;
  variables: JsonObject;
  stepId: string;
  instanceId: string;
  /** Runs work in one transaction with the audit entry about the execution. What is executed without it is recorded afterwards. */
  recorded(work: (em: Em) => Promise<ConnectorResult>): Promise<ConnectorResult>;
};

/** A type of connector. One of its commands is `test`. */
export type ConnectorType = {
  name: string;
  version: string;
  executionModel: 'built_in';
  displayName: string;
  description: string;
  defaultCommand: string;
  /** What all commands take. Its names and those of inputs differ. */
  settings: readonly Input[];
  commands: readonly Command[];
  /** What is in the system that an instance simulates, at first. */
  initialState?(now: Date): Promise<JsonObject>;
  /** What is answered without executing anything, where the settings say so. */
  instead?(config: JsonObject): ConnectorResult | null;
  /** Fails with FIELD_INVALID where it finds more wrong with the values than their descriptions say. */
  execute(context: ConnectorContext): Promise<ConnectorResult>;
};
