#!/usr/bin/env python3
"""uncovered.py DIR [FOLDER=PERCENT ...]: prints the functions of the project that nothing ran, and how many lines of each folder did, from the .gcda files
below DIR (make cover). Fails when of a FOLDER less than PERCENT ran."""
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


def share(folder):
	of_it = [key for key in lines if key[0].startswith(folder)]
	return 100.0 * sum(hit[key] > 0 for key in of_it) / max(1, len(of_it))


for folder in sorted({path.split("/")[0] for path, _ in lines}):
	print("%-12s %5.1f %% of the lines ran" % (folder, share(folder + "/")))
print("%d of %d functions never ran; %.1f %% of the lines did" % (len(never), len(runs), share("")))
low = [wanted for wanted in sys.argv[2:] if share(wanted.split("=")[0] + "/") < float(wanted.split("=")[1])]
if low:
	sys.exit("less ran than is wanted: " + ", ".join(low))
