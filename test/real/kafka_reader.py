"""Prints what is in topics of Kafka, from their beginnings to their ends, a line of JSON a message, as librdkafka reads it."""

import json
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition, libversion

brokers, *topics = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": True})
known = consumer.list_topics(timeout=10).topics
partitions = [TopicPartition(topic, partition, 0) for topic in topics if topic in known for partition in known[topic].partitions]
print("librdkafka", libversion()[0], file=sys.stderr)
consumer.assign(partitions)
unread = len(partitions)
while unread > 0:
    for message in consumer.consume(1000, timeout=1):
        error = message.error()
        if error and error.code() == KafkaError._PARTITION_EOF:
            unread -= 1
        elif error:
            raise KafkaException(error)
        else:
            headers = {name: value.decode() for name, value in message.headers() or []}
            about = {"topic": message.topic(), "partition": message.partition(), "timestamp": message.timestamp()[1], "headers": headers}
            print(json.dumps({**about, "key": message.key().decode(), "value": message.value().decode()}))
consumer.close()
