#!/bin/bash
# Makes an authority and a certificate for each NAME in DIR, and the two key pairs that sign commands and firmware. A NAME with an
# address is a broker's. Files that exist are kept.
# usage: integration/gateway/certs.sh DIR GATEWAY-TOOL NAME[=ADDRESS[,ADDRESS...]]...
set -euo pipefail
dir=$1 tool=$2
shift 2
mkdir -p "$dir"
cd "$dir"
quiet() {
	"$@" > openssl.log 2>&1 || {
		cat openssl.log >&2
		exit 1
	}
}
key() { quiet openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
if [ ! -e ca.crt ]; then
	key ca.key
	quiet openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=gateway authority" -out ca.crt
fi
for pair; do
	name=${pair%%=*} addresses=${pair#"$name"}
	[ ! -e "$name.crt" ] || continue
	key "$name.key"
	quiet openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
	names=DNS:$name
	for address in $(tr ',' ' ' <<< "${addresses#=}"); do names+=,IP:$address; done
	printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$names" > "$name.ext"
	quiet openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$name.ext" -out "$name.crt"
done
rm -f ./*.csr ./*.ext openssl.log
for purpose in command firmware; do [ -e $purpose.pub ] || "$tool" keys $purpose; done
