#!/usr/bin/env bash
# Puts statelatch on the PATH of the steps that follow in a GitHub job.
#
#   STATELATCH_PATH     a program that is there already, else
#   STATELATCH_VERSION  a version to install, else
#   STATELATCH_SOURCE   the sources to build
set -euo pipefail

bin=$RUNNER_TEMP/statelatch-bin
mkdir -p "$bin"
if [ -n "$STATELATCH_PATH" ]; then
  ln -sf "$(realpath "$STATELATCH_PATH")" "$bin/statelatch"
elif [ -n "$STATELATCH_VERSION" ]; then
  GOBIN=$bin go install -tags urfave_cli_no_template "github.com/statelatch/statelatch/cmd/statelatch@$STATELATCH_VERSION"
else
  (cd "$STATELATCH_SOURCE" && GOBIN=$bin go install -buildvcs=false -tags urfave_cli_no_template ./cmd/statelatch)
fi
"$bin/statelatch" version
echo "$bin" >> "$GITHUB_PATH"
