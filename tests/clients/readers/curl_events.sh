#!/usr/bin/env bash
# Reads a stream as Server-Sent Events with curl, and comes back from where it was:  curl_events.sh URL
set -uo pipefail
last=0
while :; do
  name='' data=''
  while IFS= read -r line; do
    case $line in
      'id: '*) id=${line#id: } ;;
      'event: '*) name=${line#event: } ;;
      'data: '*) data=${line#data: } ;;
      'retry: '*) ;;
      :) ;; # a sign of life
      '')
        last=${id-$last}
        if [ -z "$data" ]; then echo "an empty message" >&2; exit 1; fi
        if [ -z "$name" ]; then printf '%s\n' "$data"; fi
        name='' data=''
        ;;
      *) echo "an unknown line: $line" >&2; exit 1 ;;
    esac
  done < <(curl --silent --no-buffer --header "Last-Event-ID: $last" "$1")
  sleep 0.2
done
