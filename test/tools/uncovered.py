#!/usr/bin/env python3
"""uncovered.py DIR: prints the functions of the project that nothing ran, from the .gcda files below DIR (make cover)."""
import collections, gzip, json, os, subprocess, sys, tempfile

top = os.path.abspath(sys.argv[1])
runs = collections.Counter()
lines, hit = collections.Counter(), collections.Counter()
with tempfile.TemporaryDirectory() as room:
	for folder, _, names in os.walk(top):
		for name in names:
			if not name.endswith(".gcda"):
				continue
			subprocess.run(["gcov", "--json-format", os.path.join(folder, name)], cwd=room, capture_output=True, check=False)
			for made in os.listdir(room):
				with gzip.open(os.path.join(room, made)) as data:
					for unit in json.load(data)["files"]:
						path = unit["file"]
						if path.startswith("/") or path.startswith("test/"):
							continue
						for function in unit["functions"]:
							runs[(path, function["start_line"], function["name"])] += function["execution_count"]
						for line in unit["lines"]:
							lines[(path, line["line_number"])] += 1
							hit[(path, line["line_number"])] += line["count"] > 0
				os.unlink(os.path.join(room, made))
never = sorted(key for key, count in runs.items() if count == 0)
for path, line, name in never:
	print("%s:%d: %s was never run" % (path, line, name))
covered = sum(1 for key in lines if hit[key])
print("%d of %d functions never ran; %.1f %% of the lines did" % (len(never), len(runs), 100.0 * covered / max(1, len(lines))))
