import type { ProviderDefinition } from './types.ts';

/** Amazon S3 and what is compatible with it. Checked by its kind: by STS, then by its bucket; with an endpoint of its own by the bucket alone. */
export const awsS3: ProviderDefinition = {
  name: 'aws-s3',
  displayName: 'Amazon S3',
  documentationUrl: 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html',
  sources: [
    'https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html',
    'https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: ['The names of S3’s errors.'],
  keys: [{ kind: 'aws', displayName: 'Access key' }],
};
