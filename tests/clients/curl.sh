#!/bin/sh
# curl through the proxy: exchanges saved with `curl -i --raw` verify as they are, and no longer with one byte flipped.
set -eu
: "${BASE_URL:?}" "${DIRECT_URL:?}" "${TRUST:?}" "${VERIFY:?}" "${MODEL:?}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

ok() { echo "ok - $1"; }
fail() { echo "not ok - $1"; exit 1; }

# The value of a header in a saved exchange, without CR.
header() { tr -d '\r' <"$2" | sed -n "1,/^\$/s/^$1: *//Ip"; }

# receipt EXCHANGE FILE: fetches the exchange's receipt, for at most 60 s.
receipt() {
  path=$(header Colophon-Receipt "$1" | tr -d '"')
  test -n "$path" || fail "$1: no Colophon-Receipt header"
  for _ in $(seq 120); do
    code=$(curl -sS -m 10 -o "$2" -w '%{http_code}' "$BASE_URL$path")
    test "$code" = 202 || break
    sleep 0.5
  done
  test "$code" = 200 || fail "$1: the receipt answered $code"
}

# verify EXIT WHAT ARGUMENTS…
verify() {
  expected=$1 what=$2
  shift 2
  exit=0
  timeout 60 "$VERIFY" "$@" --trust "$TRUST" --json >verdict.json 2>error.txt || exit=$?
  test "$exit" = "$expected" || fail "$what: exit $exit instead of $expected: $(cat verdict.json error.txt)"
  ok "$what"
}

# exchange NAME STREAM [CURL OPTIONS…]: the same request through the proxy and direct; saved, verified, spoilt, refused.
exchange() {
  name=$1 stream=$2
  shift 2
  printf '{"model":"%s","prompt":"Once upon a time","max_tokens":24,"temperature":0,"seed":1,"stream":%s}' "$MODEL" "$stream" >request
  curl -sS -m 60 -i --raw "$@" -H 'Content-Type: application/json' --data-binary @request "$BASE_URL/v1/completions" >"$name.http"
  curl -sS -m 60 -H 'Content-Type: application/json' --data-binary @request "$DIRECT_URL/v1/completions" >direct
  said='s/.*"text":"\([^"]*\)".*/\1/p'
  test "$(sed -n "$said" "$name.http" | tr -d '\r\n')" = "$(sed -n "$said" direct | tr -d '\r\n')" || fail "$name: another answer than without the proxy"
  ok "$name: the same answer as without the proxy"
  receipt "$name.http" receipt.json
  verify 0 "$name: the saved exchange verifies" receipt.json --request request --response "$name.http"
  sed 's/"text_completion"/"text_completioN"/' "$name.http" >flipped.http
  if cmp -s "$name.http" flipped.http; then fail "$name: nothing to flip in the response"; fi
  verify 1 "$name: a flipped letter in the response is refused" receipt.json --request request --response flipped.http
  sed 's/upon/upom/' request >flipped
  verify 1 "$name: a flipped letter in the request is refused" receipt.json --request flipped --response "$name.http"
}

exchange plain false
exchange streamed true -N
if curl --version | grep -q HTTP2; then exchange h2c true -N --http2-prior-knowledge; fi
