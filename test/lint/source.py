"""What the checks share: the list of files, C text without comments and strings, findings as file:line."""
import os
import re
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
C_ENDS = (".c", ".h", ".cpp", ".def")
NOT_OURS = ("build", "node_modules", "__pycache__", ".git")

os.chdir(ROOT)


def files(*ends):
    """Files of the project (tracked, or new and not ignored), as paths from its root, sorted."""
    git = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True)
    if git.returncode == 0 and os.path.realpath(git.stdout.strip()) == os.path.realpath(ROOT):
        command = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        paths = [path for path in listed.stdout.split("\0") if path and os.path.isfile(path)]
    else:  # an unpacked archive
        paths = []
        for folder, folders, names in os.walk("."):
            folders[:] = [name for name in folders if name not in NOT_OURS]
            paths += [os.path.normpath(os.path.join(folder, name)) for name in names]
    return sorted(path for path in set(paths) if not ends or path.endswith(ends))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


C_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(text, keep_strings=False):
    """C text with comments (and the insides of strings) turned into spaces; lines and columns stay where they are."""
    def hide(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token if keep_strings else token[0] + " " * (len(token) - 2) + token[-1]
        return re.sub(r"[^\n\t]", " ", token)
    return C_TOKEN.sub(hide, text)


class Findings:
    """Collects failures; end() prints them and leaves with 1 if there are any."""

    def __init__(self, name):
        self.name, self.lines = name, []

    def fail(self, path, line, what):
        self.lines.append((path, line, f"{path}:{line}: {what}"))

    def end(self):
        for _, _, text in sorted(self.lines):
            print(text)
        if self.lines:
            print(f"{self.name}: {len(self.lines)} finding(s)")
        sys.exit(1 if self.lines else 0)
