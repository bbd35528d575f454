import { pino } from 'pino';
import { startReplica } from '../../src/app.ts';
import { type OutgoingMessage, SEND_MS } from '../../src/clients/kafka.ts';
import { readConfig } from '../../src/config.ts';

/** Our server as a process whose relay sends to a recorder, by HTTP, in place of a broker. */
const url = process.env.RECORDER_URL!;
const config = readConfig();
const log = pino({ level: config.logLevel, base: null, messageKey: 'message' });

const { grpcPort, httpPort, stop } = await startReplica({
  ...{ config, log },
  unfit: (error) => {
    throw error;
  },
  eventSink: {
    async send(messages: OutgoingMessage[]) {
      const signal = AbortSignal.timeout(SEND_MS);
      const { ok, status } = await fetch(url, { method: 'POST', body: JSON.stringify(messages), signal });
      if (!ok) throw new Error(`the recorder answered ${status}`);
    },
    async close() {},
  },
});
process.on('SIGTERM', () => void stop().then(() => process.exit(0)));
process.stdout.write(`${JSON.stringify({ grpcPort, httpPort, message: 'ready' })}\n`);
