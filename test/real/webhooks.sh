#!/usr/bin/env bash
# Sends 1,000 signed webhooks to a receiver in Python that verifies each with the public library of Standard Webhooks, and alters each to see it refused.
# Needs python3 and keeps what it installs in WEBHOOK_TEST_HOME (default ~/.cache/latchkey-webhooks), outside the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

home=${WEBHOOK_TEST_HOME:-$HOME/.cache/latchkey-webhooks}
if [ ! -d "$home" ]; then
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet standardwebhooks
fi
# Node 26 comes along as a package.
PATH=$PWD/node_modules/.bin:$PATH
node test/real/webhook-interop.ts "$home/bin/python"
