#!/usr/bin/env bash
# Runs the suite of LangflowService and of accounts against a real Langflow, which it installs (over a gigabyte, from PyPI) and starts on loopback.
#
#   test/real/langflow.sh [version of langflow-base, as 1.13.0 or 0.8.4; default the newest]
#
# Needs python3 (3.10 to 3.13) and keeps what it installs in LANGFLOW_TEST_HOME (default ~/.cache/latchkey-langflow), outside the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${1:-}
home=${LANGFLOW_TEST_HOME:-$HOME/.cache/latchkey-langflow}
venv=$home/venv-${version:-newest}
port=${LANGFLOW_TEST_PORT:-7861}
if [ ! -d "$venv" ]; then
  python3 -m venv "$venv"
  # Older ones import openai and do not ask for it.
  "$venv/bin/pip" install --quiet "langflow-base${version:+==$version}" openai
fi

# It was called so before 1.12.
langflow_command=$venv/bin/langflow
[ -x "$langflow_command" ] || langflow_command=$venv/bin/langflow-base

work=$(mktemp -d)
export LANGFLOW_AUTO_LOGIN=false LANGFLOW_SUPERUSER=admin LANGFLOW_SUPERUSER_PASSWORD=not-the-default-one
export LANGFLOW_SECRET_KEY=0123456789abcdef0123456789abcdef0123456789a
export LANGFLOW_CONFIG_DIR=$work LANGFLOW_DATABASE_URL=sqlite:///$work/langflow.db LANGFLOW_LOG_LEVEL=error
export LANGFLOW_DO_NOT_TRACK=true DO_NOT_TRACK=true LANGFLOW_STORE=false LANGFLOW_OPEN_BROWSER=false LANGFLOW_LAZY_LOAD_COMPONENTS=true
export LANGFLOW_CREATE_STARTER_PROJECTS=false LANGFLOW_UPDATE_STARTER_PROJECTS=false
export LANGFLOW_MCP_COMPOSER_ENABLED=false LANGFLOW_ADD_PROJECTS_TO_MCP_SERVERS=false LANGFLOW_RATE_LIMIT_ENABLED=false
"$langflow_command" run --host 127.0.0.1 --port "$port" --backend-only > "$work/langflow.log" 2>&1 &
langflow=$!
trap 'kill "$langflow"; wait "$langflow" || true; rm -rf "$work"' EXIT

url=http://127.0.0.1:$port
for _ in $(seq 1 120); do
  curl -fs -m 2 "$url/health_check" > /dev/null && break
  kill -0 "$langflow" || { cat "$work/langflow.log"; exit 1; }
  sleep 1
done

# The suite needs the key of a superuser, and two flows of this version's own components.
field() { "$venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
token=$(curl -fs "$url/api/v1/login" -d "username=$LANGFLOW_SUPERUSER" -d "password=$LANGFLOW_SUPERUSER_PASSWORD" | field access_token)
admin_key=$(curl -fs "$url/api/v1/api_key/" -H "authorization: Bearer $token" -H 'content-type: application/json' -d '{"name": "test"}' | field api_key)
curl -fs "$url/api/v1/version"; echo
"$venv/bin/python" test/real/langflow_flows.py "$work"

LANGFLOW_TEST_URL=$url LANGFLOW_TEST_ADMIN_KEY=$admin_key LANGFLOW_TEST_FLOWS=$work \
  npm test -- --testTimeout 60000 test/rpc/langflow.test.ts
