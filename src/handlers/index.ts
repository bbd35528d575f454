import { accessService } from './access-service.ts';
import { auditService } from './audit-service.ts';
import { connectionService } from './connection-service.ts';
import { connectorService } from './connector-service.ts';
import { eventService } from './event-service.ts';
import type { ServiceHandlers } from './implement.ts';
import { integrationService } from './integration-service.ts';
import { langflowService } from './langflow-service.ts';
import { secretService } from './secret-service.ts';
import { statusService } from './status-service.ts';
import { webhookService } from './webhook-service.ts';

/** All services of the contract. */
export const services: readonly ServiceHandlers[] = [
  connectionService,
  integrationService,
  langflowService,
  secretService,
  webhookService,
  connectorService,
  accessService,
  auditService,
  eventService,
  statusService,
];

/** Those that are served with these settings. */
export function servicesFor({ langflow }: { langflow: { served: boolean } }): readonly ServiceHandlers[] {
  return services.filter((service) => service !== langflowService || langflow.served);
}
