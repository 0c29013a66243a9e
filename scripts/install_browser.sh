#!/bin/sh
# Installs Chromium, and a font with Korean letters, for the browser tests on Debian; without it those tests are skipped and say so.
set -eu
command -v chromium >/dev/null && exit 0
command -v apt-get >/dev/null || { echo "this is no Debian system: install Chromium your own way, or name it in EYESIGHT_CHROMIUM" >&2; exit 1; }
as_root=""
[ "$(id -u)" -eq 0 ] || as_root="sudo -n"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium fonts-nanum
