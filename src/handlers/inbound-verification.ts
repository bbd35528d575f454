import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  HmacAlgorithm,
  InboundScheme,
  type InboundVerification,
  type InboundVerificationSchema,
  type SignatureDescription,
  SignatureEncoding,
  SigningKeyEncoding,
  TimestampFormat,
} from '../../gen/latchkey/v1/inbound_endpoint_pb.ts';
import type { GivenVerification } from '../domain/inbound/create-inbound-endpoint.ts';
import { rulesOf } from '../domain/inbound/scheme.ts';
import type {
  SignatureDescription as Description,
  InboundScheme as SchemeName,
  InboundVerification as Stored,
} from '../model/inbound-endpoint.ts';

/** A verification of the contract as values; absent: as the provider signs. */
export function verificationInput(given: InboundVerification | undefined): GivenVerification {
  const { tokenHeader = '', tokenPrefix = '', idHeader = '', idPointer = '' } = given ?? {};
  return {
    ...{ tokenHeader, tokenPrefix, idHeader, idPointer },
    scheme: given ? schemeName(given.scheme) : null,
    signature: given?.signature ? descriptionInput(given.signature) : null,
  };
}

function descriptionInput(given: SignatureDescription): Description {
  const { signatureHeader, timestampHeader, signedContent, prefix, separator, timestampPrefix, toleranceS } = given;
  return {
    ...{ signatureHeader, timestampHeader, prefix, separator: separator as Description['separator'], timestampPrefix },
    signedContent: signedContent || '{body}',
    algorithm: nameOf(ALGORITHMS, given.algorithm) ?? 'sha256',
    encoding: nameOf(ENCODINGS, given.encoding) ?? 'hex',
    timestampFormat: nameOf(FORMATS, given.timestampFormat) ?? 'unix_s',
    keyEncoding: nameOf(KEYS, given.keyEncoding) ?? 'raw',
    toleranceS: toleranceS || 300,
  };
}

/** As it was given, and beside it how messages are signed by its scheme. */
export function verificationToProto(given: Stored): MessageInitShape<typeof InboundVerificationSchema> {
  const { signature, token, idHeader, idPointer } = rulesOf(given);
  return {
    scheme: SCHEMES[given.scheme],
    ...{ tokenHeader: token?.header ?? '', tokenPrefix: token?.prefix ?? '', idHeader, idPointer },
    ...(signature ? { signature: descriptionToProto(signature) } : {}),
  };
}

function descriptionToProto(description: Description) {
  const { algorithm, encoding, timestampFormat, keyEncoding, ...texts } = description;
  return {
    ...texts,
    algorithm: ALGORITHMS[algorithm],
    encoding: ENCODINGS[encoding],
    timestampFormat: FORMATS[timestampFormat],
    keyEncoding: KEYS[keyEncoding],
  };
}

const SCHEMES: Record<SchemeName, InboundScheme> = {
  STANDARD_WEBHOOKS: InboundScheme.STANDARD_WEBHOOKS,
  HMAC_TIMESTAMP: InboundScheme.HMAC_TIMESTAMP,
  SLACK_V0: InboundScheme.SLACK_V0,
  GITHUB_SHA256: InboundScheme.GITHUB_SHA256,
  STRIPE: InboundScheme.STRIPE,
  TOKEN: InboundScheme.TOKEN,
  NONE: InboundScheme.NONE,
  CUSTOM: InboundScheme.CUSTOM,
};
const ALGORITHMS: Record<Description['algorithm'], HmacAlgorithm> = {
  sha256: HmacAlgorithm.SHA256,
  sha1: HmacAlgorithm.SHA1,
  sha512: HmacAlgorithm.SHA512,
};
const ENCODINGS: Record<Description['encoding'], SignatureEncoding> = {
  hex: SignatureEncoding.HEX,
  base64: SignatureEncoding.BASE64,
};
const FORMATS: Record<Description['timestampFormat'], TimestampFormat> = {
  unix_s: TimestampFormat.UNIX_SECONDS,
  unix_ms: TimestampFormat.UNIX_MILLISECONDS,
  rfc3339: TimestampFormat.RFC3339,
};
const KEYS: Record<Description['keyEncoding'], SigningKeyEncoding> = {
  raw: SigningKeyEncoding.RAW,
  base64: SigningKeyEncoding.BASE64,
  whsec: SigningKeyEncoding.WHSEC,
};

function schemeName(scheme: InboundScheme): SchemeName | null {
  return nameOf(SCHEMES, scheme) ?? null;
}

/** Undefined for UNSPECIFIED. */
function nameOf<Name extends string, Value>(numbers: Record<Name, Value>, value: Value): Name | undefined {
  return (Object.keys(numbers) as Name[]).find((name) => numbers[name] === value);
}
