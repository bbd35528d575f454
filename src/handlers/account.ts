import type { MessageInitShape } from '@bufbuild/protobuf';
import { type AccountSchema, AccountStatus } from '../../gen/latchkey/v1/account_pb.ts';
import type { ProviderAccount } from '../model/provider-account.ts';
import { toTimestamp } from './time.ts';

/** An account as the contract says it. One that is half deleted is made anew when it is asked for. */
export function accountToProto(account: ProviderAccount): MessageInitShape<typeof AccountSchema> {
  const { id, provider, baseUrl, integrationId, ownerUserId, connectionId, username, remoteId, status } = account;
  return {
    ...{ id, provider, baseUrl, username, providerAccountId: remoteId },
    ...{ integrationId: integrationId ?? '', ownerUserId: ownerUserId ?? '', connectionId: connectionId ?? '' },
    status: status === 'ACTIVE' ? AccountStatus.ACTIVE : AccountStatus.PROVISIONING,
    createTime: toTimestamp(account.createTime),
    updateTime: toTimestamp(account.updateTime),
  };
}
