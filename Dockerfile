# The service alone, for production: DATABASE_URL, a master key, and an issuer or an admin key are required (README).
FROM node:26-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Optional are a Node.js and a PostgreSQL, for machines that have none.
RUN npm ci --omit=dev --omit=optional --ignore-scripts

FROM node:26-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY gen ./gen
COPY src ./src
USER node
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HTTP_PORT || 8080}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# No core dumps, and no debugger by signal: both would hold keys.
ENTRYPOINT ["sh", "-c", "ulimit -c 0; exec node --disable-sigusr1 --max-semi-space-size=32 src/cli.ts \"$@\"", "latchkey"]
CMD ["serve"]
