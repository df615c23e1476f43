#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need usr/lib/postgresql/15/bin/postgres postgresql-15
