"""The transport over AMQP, for frames out of a RabbitMQ queue: the only door to pika."""
