#!/usr/bin/env bash
# env.sh <command...>: runs it inside .venv, at the root of the project.
source "$(dirname "$0")/common.sh"
exec "$@"
