#!/usr/bin/env bash
# Runs the suite of the event relay against a real Kafka, one node in KRaft mode, which it fetches from Maven (about 100 MB) and starts on loopback; what arrived is read with librdkafka.
#
#   [CHANGES=50000] [KILLS=100] [OUTAGES=3] test/real/kafka.sh [version, as 4.1.1]
#
# Needs a JDK (17 or later), Maven, python3 and openssl, and keeps what it fetches in KAFKA_TEST_HOME (default ~/.cache/latchkey-kafka), outside the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${1:-4.1.1}
cache=${KAFKA_TEST_HOME:-$HOME/.cache/latchkey-kafka}
home=$cache/$version
port=${KAFKA_TEST_PORT:-19092}
if [ ! -d "$home/libs" ]; then
  mkdir -p "$home"
  cat > "$home/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>latchkey</groupId><artifactId>kafka-test</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
POM
  mvn -q -B -f "$home/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/libs.part"
  mv "$home/libs.part" "$home/libs"
fi
if [ ! -d "$cache/venv" ]; then
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet confluent-kafka
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A certificate of the broker's that only this authority vouches for.
certify() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "$@" 2> /dev/null; }
certify -keyout "$work/ca.key" -out "$work/ca.pem" -subj '/CN=kafka test CA' -addext basicConstraints=critical,CA:true
certify -keyout "$work/broker.key" -out "$work/broker.crt" -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:false \
  -CA "$work/ca.pem" -CAkey "$work/ca.key"
cat "$work/broker.key" "$work/broker.crt" > "$work/broker.pem"

password=$(openssl rand -hex 16)
modules=org.apache.kafka.common.security
cat > "$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=OPEN://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1)),TLS://127.0.0.1:$((port + 2)),PLAIN://127.0.0.1:$((port + 3)),SCRAM://127.0.0.1:$((port + 4))
advertised.listeners=OPEN://127.0.0.1:$port,TLS://localhost:$((port + 2)),PLAIN://localhost:$((port + 3)),SCRAM://localhost:$((port + 4))
listener.security.protocol.map=OPEN:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,PLAIN:SASL_SSL,SCRAM:SASL_SSL
inter.broker.listener.name=OPEN
controller.listener.names=CONTROLLER
ssl.keystore.type=PEM
ssl.keystore.location=$work/broker.pem
listener.name.plain.sasl.enabled.mechanisms=PLAIN
listener.name.plain.plain.sasl.jaas.config=$modules.plain.PlainLoginModule required user_latchkey="$password";
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=$modules.scram.ScramLoginModule required;
log.dirs=$work/logs
num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
storage() { java -cp "$home/libs/*" kafka.tools.StorageTool "$@"; }
storage format -t "$(storage random-uuid 2> /dev/null)" -c "$work/server.properties" --add-scram "SCRAM-SHA-512=[name=latchkey,password=$password]" \
  > "$work/format.log" 2>&1 || { cat "$work/format.log"; exit 1; }

export KAFKA_TEST_BROKERS=127.0.0.1:$port KAFKA_TEST_COMMAND="java -Xmx512m -cp $home/libs/* kafka.Kafka $work/server.properties"
export KAFKA_TEST_TLS_BROKERS=localhost:$((port + 2)) KAFKA_TEST_PLAIN_BROKERS=localhost:$((port + 3)) KAFKA_TEST_SCRAM_BROKERS=localhost:$((port + 4))
export KAFKA_TEST_CA_FILE=$work/ca.pem KAFKA_TEST_PASSWORD=$password KAFKA_TEST_PYTHON=$cache/venv/bin/python
npm test -- test/flows/kafka.test.ts
