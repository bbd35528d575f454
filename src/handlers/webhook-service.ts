import { WebhookService } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { implement } from './implement.ts';
import { inboundEndpoints } from './inbound-endpoint.ts';

export const webhookService = implement(WebhookService, { ...inboundEndpoints });
