#!/usr/bin/env bash
# RabbitMQ, with the TLS of Erlang; the option is whether it demands a client certificate: verify_peer or verify_none.
# Its own traffic takes PORT+8 and PORT+9.
. "$(dirname "$0")/lib.sh"
need usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
work=$1 pki=$2 port=$3
cat >"$work/rabbitmq.conf" <<END
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:$port
ssl_options.cacertfile = $pki/clients.pem
ssl_options.certfile = $pki/rsa.pem
ssl_options.keyfile = $pki/rsa.key
ssl_options.verify = $4
ssl_options.fail_if_no_peer_cert = $([ "$4" = verify_peer ] && echo true || echo false)
END
echo '[].' >"$work/plugins"
# Erlang is where its start script says, which is no more than this.
erlang=$(path usr/lib/erlang)
mkdir "$work/bin"
cat >"$work/bin/erl" <<END
#!/bin/sh
ROOTDIR=$erlang BINDIR=$(echo "$erlang"/erts-*/bin) EMU=beam PROGNAME=erl
export ROOTDIR BINDIR EMU PROGNAME
exec "\$BINDIR/erlexec" "\$@"
END
chmod 755 "$work/bin/erl"
export PATH="$work/bin:$PATH" HOME=$work
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((port + 8))
export RABBITMQ_CONFIG_FILE=$work/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$work/plugins RABBITMQ_PID_FILE=$work/pid
export RABBITMQ_MNESIA_BASE=$work/mnesia RABBITMQ_LOG_BASE=$work/logs RABBITMQ_LOGS=- RABBITMQ_NODENAME=interop@localhost
export RABBITMQ_DIST_PORT=$((port + 9)) RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
export RUNNING_UNDER_SYSTEMD=true # makes it become the server, and not its parent
# It would start one for itself, which outlives it.
"$erlang"/erts-*/bin/epmd &
exec "$(path usr/lib/rabbitmq/bin/rabbitmq-server)"
