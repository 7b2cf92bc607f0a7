#!/usr/bin/env python3
"""Writes a manual page for each command of apus, out of what its --help says.

    manual.py APUS FOLDER      writes FOLDER/apus.1, FOLDER/apus-migrate.1, …; prints their names
"""
import json
import pathlib
import re
import subprocess
import sys


def roff(text):
    """Text as roff prints it: nothing in it is a request, and a dash is the one to copy."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def bold(text):
    return f"\\fB{roff(text)}\\fP"


def italic(text):
    return f"\\fI{roff(text)}\\fP"


def names(argument):
    """["-q", "--quiet"]; of a flag that can be taken back also "--no-rng"."""
    dashes = {"short": "-", "long": "--", "longWithSingleDash": "-"}
    found = [dashes[each["kind"]] + each["name"] for each in argument.get("names", [])]
    return sorted(found, key=lambda name: name.startswith("--")) + argument.get("inverse", [])


def shown(command, member):
    return [each for each in command.get(member, []) if each["shouldDisplay"]]


def arguments(command):
    """Those that are shown, --no-rng as a name of --rng; positional ones first, sections last."""
    found = {}
    for each in shown(command, "arguments"):
        name = (names(each) or [each.get("valueName")])[-1]
        opposite = "--" + name.removeprefix("--no-")
        if name.startswith("--no-") and opposite in found:
            found[opposite]["inverse"] = [name]
        else:
            found[name] = dict(each)
    return sorted(found.values(), key=lambda each: (each["kind"] != "positional", bool(each.get("sectionTitle"))))


def synopsis(command, words):
    yield ".SH SYNOPSIS"
    if shown(command, "subcommands"):
        yield f"{bold(' '.join(words))} {italic('command')} ..."
        return
    parts = [bold(" ".join(words))]
    for argument in arguments(command):
        value = italic(argument.get("valueName", ""))
        if argument["kind"] == "positional":
            part = value
        else:
            longest = [name for name in names(argument) if name.startswith("--")]
            part = " | ".join(map(bold, [longest[0], *argument.get("inverse", [])]))
            part += " " + value if argument["kind"] == "option" else ""
        part += " ..." if argument["isRepeating"] else ""
        parts.append((f"[{part}]" if argument["isOptional"] else part).replace(" ", "\\ "))
    yield " ".join(parts)


def paragraph(lines):
    """One paragraph; lines that are indented are printed as they are, and long ones go on in the next."""
    if all(line.startswith(" ") for line in lines):
        yield from [".PP", ".RS 4", ".nf", *(roff(line.strip()) for line in lines), ".fi", ".RE"]
    else:
        yield ".PP"
        yield from (roff(line) for line in lines)


def examples(lines):
    for line in lines:
        yield from paragraph([line] if line.startswith("    ") else [line.strip()])


def discussion(command):
    """The description, then its examples and exit statuses as sections of their own, where they are looked for."""
    texts = [text.split("\n") for text in re.split(r"\n\s*\n", command.get("discussion", "").strip("\n"))]
    description, shows, statuses = [], [], []
    for lines in texts:
        if lines[0] == "EXAMPLES":
            shows += examples(lines[1:])
        elif lines[0].startswith("Exit status: "):
            statuses += paragraph([" ".join(lines).removeprefix("Exit status: ")])
        elif lines != [""]:
            description += paragraph(lines)
    return description, shows, statuses


def options(command):
    section = None
    known = arguments(command)
    if known:
        yield ".SH OPTIONS"
    for argument in known:
        title = argument.get("sectionTitle")
        if title != section:
            yield f".SS {roff(title)}"
            section = title
        value = italic(argument.get("valueName", "")) if argument["kind"] != "flag" else ""
        text = argument.get("abstract", "")
        if argument.get("allValues"):
            text += f" Values: {', '.join(argument['allValues'])}."
        if argument.get("defaultValue"):
            text += f" Default: {argument['defaultValue']}."
        yield from [".TP", f"{', '.join(map(bold, names(argument)))} {value}".strip(), roff(text.strip())]


def page(command, words, version, others):
    name = "-".join(words)
    description, shows, statuses = discussion(command)
    lines = [f'.TH {roff(name.upper())} 1 "" "{roff(version)}" "Apus"', ".nh", ".ad l", ".SH NAME",
             f"{roff(name)} \\- {roff(command['abstract'].rstrip('.'))}", *synopsis(command, words)]
    if description:
        lines += [".SH DESCRIPTION", *description]
    subcommands = [each for each in shown(command, "subcommands") if each["commandName"] != "help"]
    if subcommands:
        lines.append(".SH COMMANDS")
        for each in subcommands:
            lines += [".TP", f"\\fB{roff(name + '-' + each['commandName'])}\\fP(1)", roff(each["abstract"])]
    lines += options(command)
    if shows:
        lines += [".SH EXAMPLES", *shows]
    lines += [".SH EXIT STATUS", *(statuses or ["0 if all went well; 1 if not; 64 if an option is wrong."])]
    lines += [".SH SEE ALSO", ",\n".join(f"\\fB{roff(each)}\\fP(1)" for each in others if each != name)]
    return "\n".join(lines) + "\n"


def tree(command, words=()):
    """All commands with their names, the main one first."""
    words = (*words, command["commandName"])
    yield words, command
    for each in shown(command, "subcommands"):
        if each["commandName"] != "help":
            yield from tree(each, words)


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])

    def ask(option):
        return subprocess.run([program, option], capture_output=True, text=True, check=True).stdout

    commands = dict(tree(json.loads(ask("--experimental-dump-help"))["command"]))
    version = "Apus " + ask("--version").split()[-1]
    folder.mkdir(parents=True, exist_ok=True)
    for words, command in commands.items():
        # Its family: what it belongs to, what belongs to it, and what belongs to the same.
        others = ["-".join(each) for each in commands if each == words[:-1] or each[:-1] in (words[:-1], words)]
        path = folder / f"{'-'.join(words)}.1"
        path.write_text(page(command, words, version, others))
        print(path.name)


if __name__ == "__main__":
    main()
