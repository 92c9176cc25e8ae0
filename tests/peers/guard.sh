#!/bin/sh
# Ends a peer when the tests are gone: guard.sh PROCESS_GROUP FOLDER
# Standard input is a pipe that only the tests hold. A line from it says that they have ended the
# peer themselves; its end without a line, that they died, in whichever way.
read -r _ && exit 0
kill -s TERM -- "-$1" 2>/dev/null
tries=0
while kill -s 0 -- "-$1" 2>/dev/null && [ $tries -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
kill -s KILL -- "-$1" 2>/dev/null
rm -rf -- "$2"
