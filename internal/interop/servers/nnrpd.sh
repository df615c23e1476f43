#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need usr/lib/news/bin/nnrpd inn2
