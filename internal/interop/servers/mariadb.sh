#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need mariadbd mariadb-server
