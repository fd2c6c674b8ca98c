#!/bin/bash
# Makes an authority, and with it certificates for the cloud's broker and for a gateway, valid for a day, and the keys that sign.
# usage: integration/gateway/guest-certs.sh OUT ADDRESS GATEWAY-TOOL      ADDRESS: the IP address of the cloud's broker
set -euo pipefail
out=$1 address=$2 tool=$3
mkdir -p "$out"
cd "$out"
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$1.key" "${@:2}" 2> "$1.log"; }
sign() { openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -days 1 -set_serial "$2" -extfile "$1.ext" -out "$1.crt" 2> "$1.log"; }
new ca -x509 -days 1 -out ca.crt
printf 'subjectAltName=IP:%s\nextendedKeyUsage=serverAuth\n' "$address" > cloud.ext
printf 'extendedKeyUsage=clientAuth\n' > client.ext
new cloud -out cloud.csr
new client -out client.csr
sign cloud 1
sign client 2
"$tool" keys command
"$tool" keys firmware
