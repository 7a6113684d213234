#!/usr/bin/env bash
# Runs `mmbench gate` for action.yml: options from the environment, reports into $REPORT, the verdict
# into the step's outputs, and the gate's own exit code.
set -uo pipefail

options=(--reference "$REFERENCE" --candidate "$CANDIDATE" --on-inconclusive "$ON_INCONCLUSIVE")
[ -n "${POLICY:-}" ] && options+=(--policy "$POLICY")
[ -n "${TASK:-}" ] && options+=(--task "$TASK")
[ -n "${REFERENCES:-}" ] && options+=(--references "$REFERENCES")
[ -n "${METRIC:-}" ] && options+=(--metric "$METRIC")
[ -n "${MARGIN:-}" ] && options+=(--margin "$MARGIN")

mkdir -p "$REPORT"
rm -f "$REPORT/gate.json"  # of an earlier step
python -m mmbench gate "${options[@]}" --junit "$REPORT/gate.xml" --markdown "$REPORT/gate.md" \
    --json-out "$REPORT/gate.json" 2> "$REPORT/error.txt"
code=$?
cat "$REPORT/error.txt" >&2
# The verdict; where there is none, why.
summary=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["summary"])' \
    "$REPORT/gate.json" 2>/dev/null || sed -n 's/^error: //p' "$REPORT/error.txt" | tail -1)
{
    echo "exit-code=$code"
    echo "summary=$summary"
} >> "$GITHUB_OUTPUT"
[ "$code" -eq 0 ] || echo "::error title=mmbench gate::$summary"
exit "$code"
