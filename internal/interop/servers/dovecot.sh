#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need dovecot dovecot-core
need usr/lib/dovecot/imap-login dovecot-imapd
need usr/lib/dovecot/pop3-login dovecot-pop3d
need usr/lib/dovecot/lmtp dovecot-lmtpd
need usr/lib/dovecot/managesieve-login dovecot-managesieved
