#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need exim4 exim4-daemon-light
need usr/lib/x86_64-linux-gnu/libnss_wrapper.so libnss-wrapper
