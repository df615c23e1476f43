#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need vsftpd vsftpd
