#!/usr/bin/env bash
# Reads a stream as lines of JSON with curl, and comes back from where it was:  curl_lines.sh URL
set -uo pipefail
last=0
while :; do
  while IFS= read -r line; do
    [ -n "$line" ] || continue # a sign of life
    printf '%s\n' "$line"
    [[ $line =~ ^\{\"seq\":([0-9]+), ]] || { echo "not an event: $line" >&2; exit 1; }
    last=${BASH_REMATCH[1]}
  done < <(curl --silent --no-buffer --header 'Accept: application/x-ndjson' --header "Last-Event-ID: $last" "$1")
  sleep 0.2
done
