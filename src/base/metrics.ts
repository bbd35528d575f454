import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** All metrics of a process. Names are those of go-grpc-prometheus where they exist there. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const rpc = ['grpc_type', 'grpc_service', 'grpc_method'] as const;
  return {
    registry,
    started: new Counter({
      name: 'grpc_server_started_total',
      help: 'Calls started, over gRPC and Connect.',
      labelNames: rpc,
      registers,
    }),
    handled: new Counter({
      name: 'grpc_server_handled_total',
      help: 'Calls ended, by code and reason.',
      labelNames: [...rpc, 'grpc_code', 'reason', 'transport'] as const,
      registers,
    }),
    handlingSeconds: new Histogram({
      name: 'grpc_server_handling_seconds',
      help: 'Time from the first byte understood to the answer.',
      labelNames: rpc,
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
    cacheHits: new Counter({
      name: 'latchkey_cache_lookups_total',
      help: 'Cache look-ups by cache and result (hit, miss).',
      labelNames: ['cache', 'result'] as const,
      registers,
    }),
    auditBuffered: new Gauge({
      name: 'latchkey_audit_buffered_entries',
      help: 'Audit entries of reads that wait to be written.',
      registers,
    }),
    auditFailures: new Counter({
      name: 'latchkey_audit_flush_failures_total',
      help: 'Failed attempts to write buffered audit entries.',
      registers,
    }),
    refreshes: new Counter({
      name: 'latchkey_token_refreshes_total',
      help: 'Refreshes that were answered, by provider and outcome.',
      labelNames: ['provider', 'outcome'] as const,
      registers,
    }),
    lossWindow: new Histogram({
      name: 'latchkey_token_refresh_loss_window_seconds',
      help: 'Time from a parsed answer of a provider until it is stored: what a crash in it can cost a refresh token.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60],
      registers,
    }),
    sweepLag: new Gauge({
      name: 'latchkey_token_refresh_lag_seconds',
      help: 'How long the refresh that waits longest has been due.',
      aggregator: 'max',
      registers,
    }),
    leaseAge: new Gauge({
      name: 'latchkey_token_refresh_oldest_attempt_seconds',
      help: 'For how long the oldest refresh that has not ended has been under way, on whatever replica: beyond the lease it waits to be taken over.',
      aggregator: 'max',
      registers,
    }),
    servedPastSoft: new Counter({
      name: 'latchkey_tokens_served_past_soft_expiry_total',
      help: 'Tokens handed out while their refresh was due.',
      registers,
    }),
    deliveryAttempts: new Counter({
      name: 'latchkey_delivery_attempts_total',
      help: 'Attempts to deliver a webhook, by what became of it (succeeded, retry, give_up, release).',
      labelNames: ['outcome'] as const,
      registers,
    }),
    inboundMessages: new Counter({
      name: 'latchkey_inbound_messages_total',
      help: 'Requests to inbound endpoints, by outcome.',
      labelNames: ['outcome'] as const,
      registers,
    }),
    relayedEvents: new Counter({
      name: 'latchkey_outbox_relayed_events_total',
      help: 'Events that were passed on to Kafka, or had nothing for it.',
      registers,
    }),
    outboxLagEvents: new Gauge({
      name: 'latchkey_outbox_lag_events',
      help: 'Events that wait to be passed on to Kafka, on whatever replica.',
      aggregator: 'max',
      registers,
    }),
    outboxLagSeconds: new Gauge({
      name: 'latchkey_outbox_lag_seconds',
      help: 'How long the event that waits longest to be passed on to Kafka has waited.',
      aggregator: 'max',
      registers,
    }),
    integrityFailures: new Counter({
      name: 'latchkey_integrity_failures_total',
      help: 'Stored ciphertexts that did not open.',
      registers,
    }),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
