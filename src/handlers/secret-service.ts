import type { MessageInitShape } from '@bufbuild/protobuf';
import type { SecretSchema } from '../../gen/latchkey/v1/secret_pb.ts';
import { SecretOrder, SecretService } from '../../gen/latchkey/v1/secret_service_pb.ts';
import { SecretText } from '../base/secret-text.ts';
import { createSecret } from '../domain/secrets/create-secret.ts';
import { deleteSecret } from '../domain/secrets/delete-secret.ts';
import { listSecrets } from '../domain/secrets/list-secrets.ts';
import { updateSecret } from '../domain/secrets/update-secret.ts';
import type { Secret } from '../model/secret.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { toTimestamp } from './time.ts';

export const secretService = implement(SecretService, {
  async createSecret(call, { name, value, projectId, requestId }) {
    const secret = await createSecret(call, {
      name,
      value: new SecretText(value),
      projectId: projectId || null,
      requestId,
    });
    return { secret: secretToProto(secret) };
  },

  async updateSecret(call, { name, value, projectId }) {
    const secret = await updateSecret(call, { name, value: new SecretText(value), projectId: projectId || null });
    return { secret: secretToProto(secret) };
  },

  async listSecrets(call, request) {
    const projectId = request.projectId === '' ? null : request.projectId;
    const order = request.order === SecretOrder.NAME_DESC ? 'NAME_DESC' : 'NAME_ASC';
    const page = await listSecrets(call, projectId, order, pageRequest(request));
    return { secrets: page.items.map(secretToProto), ...pageResponse(page) };
  },

  async deleteSecret(call, { name, projectId, force }) {
    await deleteSecret(call, { name, projectId: projectId || null, force });
    return {};
  },
});

function secretToProto({ id, name, projectId, createTime, updateTime }: Secret): MessageInitShape<typeof SecretSchema> {
  return {
    id,
    name,
    projectId: projectId ?? '',
    createTime: toTimestamp(createTime),
    updateTime: toTimestamp(updateTime),
  };
}
