#!/usr/bin/env bash
# Runs the suite of the event relay against a real Kafka, one node in KRaft mode, which it fetches from Maven (about 100 MB) and starts on loopback.
#
#   test/real/kafka.sh [version, as 4.1.1]
#
# Needs a JDK (17 or later) and Maven, and keeps what it fetches in KAFKA_TEST_HOME (default ~/.cache/latchkey-kafka), outside the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${1:-4.1.1}
home=${KAFKA_TEST_HOME:-$HOME/.cache/latchkey-kafka}/$version
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

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$work/logs
num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
java -cp "$home/libs/*" kafka.tools.StorageTool format -t "$(java -cp "$home/libs/*" kafka.tools.StorageTool random-uuid 2> /dev/null)" \
  -c "$work/server.properties" > "$work/format.log" 2>&1 || { cat "$work/format.log"; exit 1; }

KAFKA_TEST_BROKERS=127.0.0.1:$port KAFKA_TEST_COMMAND="java -Xmx512m -cp $home/libs/* kafka.Kafka $work/server.properties" \
  npm test -- test/flows/kafka.test.ts
