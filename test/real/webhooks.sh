#!/usr/bin/env bash
# Sends 1,000 signed webhooks, and 1,000 events while the secret of their endpoint is being replaced, to receivers in Python and Go. Each is verified with the public library of Standard Webhooks for
# that language, and altered to see it refused.
# Needs python3 and Go (1.21 or later), and keeps what it installs in WEBHOOK_TEST_HOME (default ~/.cache/latchkey-webhooks), outside the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

home=${WEBHOOK_TEST_HOME:-$HOME/.cache/latchkey-webhooks}
if [ ! -d "$home/venv" ]; then
  python3 -m venv "$home/venv"
  "$home/venv/bin/pip" install --quiet standardwebhooks
fi
"$home/venv/bin/pip" list 2> /dev/null | grep -i '^standardwebhooks'
(cd test/real/webhook_receiver_go && go build -o "$home/receiver" . && go list -m github.com/standard-webhooks/standard-webhooks/libraries)
# Node 26 comes along as a package.
PATH=$PWD/node_modules/.bin:$PATH
node test/real/webhook-interop.ts "$home/venv/bin/python test/real/webhook_receiver.py" "$home/receiver"
