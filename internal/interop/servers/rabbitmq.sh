#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
