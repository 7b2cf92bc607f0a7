"""Counts what a test run did, from swift-testing's event streams and the steps of Scripts/test.

Prints the failed tests, the skipped ones with their reasons, and last the line "N passed, N failed, N skipped".
Exits with 0 only if something passed and nothing failed.
"""
import glob
import json
import os
import sys


def read_events(path):
    """Yields (name, result, reason) of each test function in one event stream."""
    names, suites, skipped, failed, ended = {}, {}, {}, {}, []
    for line in open(path):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # a run that was killed leaves half a line
            continue
        payload = entry["payload"]
        if entry["kind"] == "test":
            if payload["kind"] == "suite":
                suites[payload["id"]] = payload.get("displayName", payload["name"])
            else:
                names[payload["id"]] = payload.get("displayName", payload["name"])
            continue
        test, kind = payload.get("testID"), payload["kind"]
        if kind in ("testSkipped", "testCancelled"):
            skipped[test] = " ".join(payload.get("_comments", [])) or "no reason given"
        elif kind == "issueRecorded":
            issue = payload.get("issue", {})
            if not issue.get("isKnown") and issue.get("_severity", "error") != "warning":
                texts = [message["text"] for message in payload["messages"]]
                failed.setdefault(test, " / ".join(texts)[:500])
        elif kind == "testEnded":
            ended.append(test)
    for test, name in names.items():
        where = test.split(".")[0]
        if test in failed:
            yield f"{where}: {name}", "failed", failed[test]
        elif test in skipped:
            yield f"{where}: {name}", "skipped", skipped[test]
        elif any(test.startswith(suite + "/") for suite in skipped if suite in suites):
            suite = next(suite for suite in skipped if suite in suites and test.startswith(suite + "/"))
            yield f"{where}: {name}", "skipped", skipped[suite]
        elif test in ended:
            yield f"{where}: {name}", "passed", ""
        elif ended or skipped:
            yield f"{where}: {name}", "failed", "started, never ended"


def main(folder):
    rows = []
    explained = set()  # runs whose failure is told by their own tests
    for path in sorted(glob.glob(os.path.join(folder, "*.jsonl"))):
        run = list(read_events(path))
        rows += run
        if any(result == "failed" for _, result, _ in run):
            explained.add(os.path.basename(path).removesuffix(".jsonl"))
    steps = os.path.join(folder, "steps.tsv")
    if os.path.exists(steps):
        for line in open(steps):
            result, name, reason = line.rstrip("\n").split("\t")
            if name not in explained:
                rows.append((name, result, reason))
    count = {kind: [row for row in rows if row[1] == kind] for kind in ("passed", "failed", "skipped")}
    if count["skipped"]:
        print(f"\n{len(count['skipped'])} skipped:")
        for name, _, reason in count["skipped"]:
            print(f"  {name}: {reason}")
    if count["failed"]:
        print(f"\n{len(count['failed'])} failed:")
        for name, _, reason in count["failed"]:
            print(f"  {name}: {reason}")
    print()
    print(", ".join(f"{len(count[kind])} {kind}" for kind in ("passed", "failed", "skipped")))
    return 0 if count["passed"] and not count["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
